import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { BrinkError, type ErrorCode, type Problem, problemOf } from '@brink/protocol';
import type { FastifyError, FastifyRequest } from 'fastify';
import { hasZodFastifySchemaValidationErrors } from 'fastify-type-provider-zod';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** What fastify says, in the codes of the one table. https://fastify.dev/docs/latest/Reference/Errors/ */
const FASTIFY_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'E_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'E_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_TYPE: 'E_MEDIA_TYPE',
  FST_ERR_CTP_EMPTY_TYPE: 'E_MEDIA_TYPE',
  FST_ERR_HANDLER_TIMEOUT: 'E_TIMEOUT',
  FST_ERR_NOT_FOUND: 'E_NOT_FOUND',
};

/** RFC 9110, 15.5.9: not the status that the code has elsewhere, where somebody else was late. */
const SLOW_STATUS = 408;
const SLOW = 'the request did not arrive in time';
export const slowRequest = () => new BrinkError('E_TIMEOUT', SLOW);
const isSlow = ({ code, detail }: BrinkError) => code === 'E_TIMEOUT' && detail === SLOW;

/** The single place where something thrown by a route becomes a problem document. */
export function toProblem(reason: unknown, instance: string, request?: Pick<FastifyRequest, 'headers'>): Problem {
  if (reason instanceof BrinkError)
    return { ...problemOf(reason, instance), ...(isSlow(reason) ? { status: SLOW_STATUS } : {}) };
  if (hasZodFastifySchemaValidationErrors(reason)) return invalidRequest(reason, instance);
  const { code = '', statusCode = 500, message = '' } = reason as Partial<FastifyError>;
  const known = FASTIFY_CODES[code];
  if (known === 'E_MEDIA_TYPE') {
    const found = request?.headers['content-type'] ?? 'no content type';
    const detail = `found ${found.slice(0, 100)}; expected application/json`;
    return problemOf(new BrinkError(known, detail), instance);
  }
  if (known !== undefined) return problemOf(new BrinkError(known, message), instance);
  if (statusCode >= 400 && statusCode < 500) return problemOf(new BrinkError('E_BAD_REQUEST', message), instance);
  // What nobody foresaw is in the log under this id, not in the answer.
  return problemOf(new BrinkError('E_INTERNAL', `see the log of control for request ${instance}`), instance);
}

function invalidRequest(
  reason: {
    validation: { instancePath: string; message?: string; params: object }[];
    validationContext?: string | undefined;
  },
  instance: string,
): Problem {
  const place = { querystring: 'query', params: 'path', headers: 'header' }[reason.validationContext ?? ''] ?? 'body';
  const errors = reason.validation.flatMap(({ instancePath, message = 'is wrong', params }) => {
    const path = `${place}${instancePath === '/' ? '' : instancePath}`;
    const { keys } = params as { keys?: string[] };
    return keys === undefined
      ? [{ path, detail: message }]
      : keys.map((key) => ({ path: `${path}/${key}`, detail: 'is unknown here' }));
  });
  const detail = errors.map(({ path, detail: said }) => `${path}: ${said}`).join('; ');
  return { ...problemOf(new BrinkError('E_BAD_REQUEST', detail.slice(0, 2000)), instance), errors };
}

/** Requests that Node refuses before fastify sees them: no HTTP, headers too large, too slow. */
export function answerClientError(error: Error & { code?: string }, socket: Socket, instance: string): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [code, status, detail]: [ErrorCode, number, string] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? ['E_TOO_LARGE', 431, 'the headers are larger than 16 KiB']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? ['E_TIMEOUT', SLOW_STATUS, SLOW]
        : ['E_BAD_REQUEST', 400, 'this is not HTTP as expected'];
  const body = JSON.stringify({ ...problemOf(new BrinkError(code, detail), instance), status });
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${instance}`,
    'Connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}
