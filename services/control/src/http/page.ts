/** Text that is HTML already. */
export interface Html {
  readonly html: string;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Everything that is put in is escaped, unless it is HTML itself. */
export function html(parts: TemplateStringsArray, ...values: unknown[]): Html {
  const text = (value: unknown): string => {
    if (Array.isArray(value)) return value.map(text).join('\n');
    if (typeof value === 'object' && value !== null && 'html' in value) return String(value.html);
    return String(value).replace(/[&<>"']/g, (character) => ESCAPES[character] ?? '');
  };
  return { html: parts.reduce((all, part, index) => all + text(values[index - 1]) + part) };
}

export function page(title: string, body: Html): string {
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title === 'Brink' ? title : `${title} · Brink`}</title><link rel="stylesheet" href="/style.css"></head>
<body><main><h1>${title}</h1>
${body}
</main></body></html>
`.html;
}

export const STYLE = `:root { color-scheme: light dark; --line: #8884; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0.5rem 0; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 0.5rem; }
code, pre { font: 0.9em/1.5 ui-monospace, monospace; }
pre { padding: 0.75rem; border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.75rem 0.35rem 0; border-bottom: 1px solid var(--line); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem; margin: 0; }
dt { opacity: 0.7; }
dd { margin: 0; overflow-wrap: anywhere; }
tr:target { outline: 2px solid; }
/* On a phone the last cell of a row stands under the others. */
@media (max-width: 40rem) {
  .stacked thead { display: none; }
  .stacked tr { display: flex; flex-wrap: wrap; gap: 0 0.75rem; padding: 0.35rem 0; border-bottom: 1px solid var(--line); }
  .stacked td { border: 0; padding: 0; }
  .stacked td:last-child { flex-basis: 100%; }
}
`;
