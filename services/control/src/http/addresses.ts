/**
 * Which methods each address takes, so that a wrong one is answered 405 with `Allow` and not 404. Every method that Node parses
 * comes along, also those that fastify knows nothing of (TRACE, PROPFIND).
 */
export function createAddresses() {
  const known = new Map<string, { readonly path: RegExp; readonly methods: Set<string> }>();
  return {
    /** @param url as routes are written: `/v1/devices/:id`, `/docs/*` */
    add(url: string, methods: readonly string[]): void {
      const { path, methods: all } = known.get(url) ?? { path: patternOf(url), methods: new Set<string>() };
      for (const method of methods) all.add(method);
      known.set(url, { path, methods: all });
    },
    /** Of an address that is written out (`/v1/rules/test`) before one with a name in it. @returns sorted; empty: there is no such */
    methodsOf(path: string): string[] {
      const own = known.get(path);
      const matching = (own === undefined ? [...known.values()].filter((one) => one.path.test(path)) : [own]).map(
        ({ methods }) => [...methods],
      );
      return [...new Set(matching.flat())].sort();
    },
  };
}

export type Addresses = ReturnType<typeof createAddresses>;

function patternOf(url: string): RegExp {
  const text = url
    .split('/')
    .map((part) => (part.startsWith(':') ? '[^/]+' : part === '*' ? '.*' : part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')))
    .join('/');
  return new RegExp(`^${text}$`);
}
