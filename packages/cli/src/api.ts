import { readFileSync } from 'node:fs';
import { BrinkError, ProblemSchema } from '@brink/protocol';
import { Agent, type Dispatcher, request } from 'undici';
import { parseEvents, type ServerEvent } from './sse.ts';

export interface ApiOptions {
  /** `http://127.0.0.1:8080` */
  readonly url: string;
  readonly token?: string;
}

export type Query = Record<string, string | number | undefined>;

/** Control's HTTP entrance. Every call throws BrinkError: the code of the problem document, or E_UNAVAILABLE. */
export interface Api {
  readonly url: string;
  get<T>(path: string, query?: Query): Promise<T>;
  send<T>(
    method: 'POST' | 'DELETE' | 'PUT' | 'PATCH',
    path: string,
    body?: unknown,
    headers?: Readonly<Record<string, string>>,
  ): Promise<T>;
  /** Bytes as they are. */
  post<T>(path: string, bytes: Uint8Array, type: string, query?: Query): Promise<T>;
  /** Server-sent events until the server closes or the signal aborts. https://html.spec.whatwg.org/#server-sent-events */
  events(path: string, o: { signal: AbortSignal; lastEventId?: string }): AsyncGenerator<ServerEvent, void>;
  close(): Promise<void>;
}

const HEADERS_MS_MAX = 15_000;
const BODY_BYTES_MAX = 32 * 1024 * 1024;

export function createApi(o: ApiOptions): Api {
  const base = o.url.replace(/\/+$/, '');
  const agent = new Agent({ connect: { timeout: 5000 }, headersTimeout: HEADERS_MS_MAX, bodyTimeout: HEADERS_MS_MAX });
  const authorisation: Record<string, string> = o.token === undefined ? {} : { authorization: `Bearer ${o.token}` };

  async function ask(
    path: string,
    options: Partial<Dispatcher.RequestOptions>,
  ): Promise<Dispatcher.ResponseData<unknown>> {
    const headers = { ...authorisation, ...(options.headers as Record<string, string> | undefined) };
    let url: URL;
    try {
      url = new URL(base + path);
    } catch (error) {
      throw new BrinkError('E_BAD_REQUEST', `"${o.url}" is no address; expected http://host:port`, { cause: error });
    }
    try {
      return await request(url, { method: 'GET', ...options, headers, dispatcher: agent } as Parameters<
        typeof request
      >[1]);
    } catch (error) {
      throw unreachable(error, base);
    }
  }

  async function json<T>(response: Dispatcher.ResponseData<unknown>): Promise<T> {
    const text = await bounded(response);
    if (response.statusCode >= 400) throw problem(response.statusCode, text, base);
    if (text === '') return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      throw new BrinkError('E_UNAVAILABLE', `${base} answers something that is no JSON; is it Brink's?`, {
        cause: error,
      });
    }
  }

  return {
    url: base,
    get: async (path, query) => json(await ask(path + queryText(query), {})),
    send: async (method, path, body, headers = {}) =>
      json(
        await ask(path, {
          method,
          headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      ),
    post: async (path, bytes, type, query) =>
      json(await ask(path + queryText(query), { method: 'POST', headers: { 'content-type': type }, body: bytes })),
    async *events(path, { signal, lastEventId }) {
      const headers: Record<string, string> = { accept: 'text/event-stream' };
      if (lastEventId !== undefined) headers['last-event-id'] = lastEventId;
      const response = await ask(path, { headers, signal, bodyTimeout: 0 });
      if (response.statusCode !== 200) throw problem(response.statusCode, await bounded(response), base);
      try {
        yield* parseEvents(response.body);
      } catch (error) {
        if (signal.aborted) return;
        throw unreachable(error, base);
      }
    },
    close: () => agent.destroy(),
  };
}

async function bounded(response: Dispatcher.ResponseData<unknown>): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of response.body as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > BODY_BYTES_MAX) throw new BrinkError('E_TOO_LARGE', `an answer of more than ${BODY_BYTES_MAX} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

export function queryText(query: Query | undefined): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined) pairs.set(name, String(value));
  const text = pairs.toString();
  return text === '' ? '' : `?${text}`;
}

function problem(status: number, text: string, base: string): BrinkError {
  const parsed = ProblemSchema.safeParse(safeJson(text));
  if (!parsed.success) return new BrinkError('E_UNAVAILABLE', `${base} answers HTTP ${status}; is it Brink's?`);
  const { code, detail, errors } = parsed.data;
  const hint = code === 'E_UNAUTHORISED' ? '; give --token-file, or set BRINK_HTTP_TOKEN_FILE' : '';
  const lines = (errors ?? [])
    .map((error) => `${error.path}: ${error.detail}`)
    .filter((line) => !detail.includes(line));
  return new BrinkError(code, [detail + hint, ...lines].join('\n'), { cause: errors });
}

function unreachable(error: unknown, base: string): BrinkError {
  if (error instanceof BrinkError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'ECONNREFUSED' || code === 'ENOTFOUND' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new BrinkError(
      'E_UNAVAILABLE',
      `nothing answers at ${base}; start Brink (\`npm start\`), or name another with --url`,
      {
        cause: error,
      },
    );
  }
  return BrinkError.from(error, 'E_UNAVAILABLE');
}

function safeJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** @throws BrinkError E_SETTING when the file is named but cannot be read, or holds no token */
export function readToken(file: string | undefined): string | undefined {
  if (file === undefined || file === '') return undefined;
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (error) {
    const why = BrinkError.from(error).detail;
    throw new BrinkError('E_SETTING', `the token's file ${file} cannot be read: ${why}`, { cause: error });
  }
  if (!/^[\x21-\x7e]+$/.test(token)) throw new BrinkError('E_SETTING', `${file} holds no token; expected one word`);
  return token;
}
