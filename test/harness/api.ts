/** The HTTP entrance as the tests use it. Waiting is asking until it holds, with a limit. */
export function api(base: string, token?: string) {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };

  async function request(path: string, init: RequestInit = {}) {
    const response = await fetch(base + path, { ...init, headers: { ...headers, ...init.headers } });
    const text = await response.text();
    const json = /json/.test(response.headers.get('content-type') ?? '') ? JSON.parse(text) : undefined;
    return { status: response.status, headers: response.headers, text, json };
  }

  /** @returns the JSON under `path`; throws where the answer is no success */
  async function get<T = Record<string, unknown>>(path: string): Promise<T> {
    const { status, json, text } = await request(path);
    if (status >= 300) throw new Error(`GET ${path}: ${status} ${text.slice(0, 500)}`);
    return json as T;
  }

  /** Asks every 50 ms until `holds`. @returns what held */
  async function until<T = Record<string, unknown>>(
    path: string,
    holds: (answer: T) => boolean,
    ms = 20_000,
  ): Promise<T> {
    const late = performance.now() + ms;
    let last: unknown;
    for (;;) {
      try {
        const answer = await get<T>(path);
        if (holds(answer)) return answer;
        last = answer;
      } catch (error) {
        last = error;
      }
      if (performance.now() > late) {
        throw new Error(
          `${path} was not as expected within ${ms} ms; last: ${JSON.stringify(last).slice(0, 2000)} ${last}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  return { base, request, get, until };
}
export type Api = ReturnType<typeof api>;

export interface List<T> {
  readonly items: readonly T[];
  readonly next?: number | null;
}
