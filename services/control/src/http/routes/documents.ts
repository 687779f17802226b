import { BrinkError, ERROR_TABLE, jsonSchema, SCHEMA_NAMES } from '@brink/protocol';
import { z } from 'zod';
import { type App, problems } from '../app.ts';
import { html, page, STYLE } from '../page.ts';

const HTML_TYPE = 'text/html; charset=utf-8';
const hidden = { schema: { hide: true } } as const;

/** What can be read without knowing anything of the site: schemas, the error table, the style of the pages. */
export function addDocuments(app: App): void {
  app.get('/style.css', hidden, (_, reply) => reply.type('text/css; charset=utf-8').send(STYLE));
  app.get('/docs/errors', hidden, (_, reply) => reply.type(HTML_TYPE).send(errorPage()));
  app.get('/schemas/v1', hidden, () => ({ items: SCHEMA_NAMES.map((name) => `/schemas/v1/${name}.json`) }));
  app.get(
    '/schemas/v1/:file',
    {
      schema: {
        summary: 'JSON Schema of a format: config, decision, passport, command, ack …',
        tags: ['schemas'],
        params: z.strictObject({
          file: z
            .string()
            .max(100)
            .meta({ examples: ['config.json'] }),
        }),
        response: {
          200: {
            description: 'JSON Schema 2020-12',
            content: { 'application/schema+json': { schema: z.any().meta({ type: 'object' }) } },
          },
          ...problems,
        },
      },
    },
    ({ params: { file } }, reply) => {
      const schema = file.endsWith('.json') ? jsonSchema(file.slice(0, -'.json'.length)) : undefined;
      if (schema === undefined) {
        throw new BrinkError(
          'E_NOT_FOUND',
          `there is no schema "${file}"; expected one of ${SCHEMA_NAMES.join(', ')}, and .json`,
        );
      }
      return reply.type('application/schema+json; charset=utf-8').send(JSON.stringify(schema, undefined, 1));
    },
  );
}

function errorPage(): string {
  const rows = Object.entries(ERROR_TABLE).map(
    ([code, { http, retryable, sentence }]) => html`<tr id="${code.toLowerCase()}">
<td><code>${code}</code></td><td>${http}</td><td>${retryable ? 'again' : 'final'}</td><td>${sentence}</td></tr>`,
  );
  return page(
    'Errors',
    html`<p>Every refusal, on every face of Brink, carries one of these codes. “Again”: the same request may
succeed later without anybody changing it.</p>
<div class="wide"><table class="stacked"><thead><tr><th>Code</th><th>HTTP</th><th>Again</th><th>Meaning</th></tr></thead>
<tbody>${rows}</tbody></table></div>`,
  );
}
