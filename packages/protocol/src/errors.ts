/**
 * The one error table. Every refusal in Brink, on every face, carries one of these codes.
 * `http` is the RFC 9457 status, `grpc` the canonical gRPC status code, `retryable` says whether the same input may
 * succeed later without anybody changing it.
 */
const row = (http: number, grpc: number, retryable: boolean, sentence: string) => ({
  http,
  grpc,
  retryable,
  sentence,
});

// gRPC status codes: https://grpc.io/docs/guides/status-codes/
const INVALID = 3;
const DEADLINE = 4;
const NOT_FOUND = 5;
const EXISTS = 6;
const DENIED = 7;
const EXHAUSTED = 8;
const PRECONDITION = 9;
const ABORTED = 10;
const UNIMPLEMENTED = 12;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const DATA_LOSS = 15;
const UNAUTHENTICATED = 16;
const CANCELLED = 1;

export const ERROR_TABLE = {
  // frames and payloads
  E_EMPTY: row(400, INVALID, false, 'The frame has no bytes.'),
  E_TOO_LARGE: row(413, INVALID, false, 'The payload is larger than its limit.'),
  E_RETAINED: row(400, INVALID, false, 'Frames must not be retained messages.'),
  E_NAME: row(400, INVALID, false, 'The name does not match [a-z0-9][a-z0-9-]{0,63}.'),
  E_TOPIC: row(400, INVALID, false, 'The topic is none of those that Brink knows.'),
  E_STREAM_UNKNOWN: row(404, NOT_FOUND, false, 'No stream in the configuration takes this frame.'),
  E_DEVICE: row(403, DENIED, false, 'Nobody has approved this device, and site.join asks for that.'),
  E_TYPE: row(415, INVALID, false, 'The bytes are of no type that this stream takes.'),
  E_ENCODING: row(415, INVALID, false, 'The payload is compressed, or wrapped in an envelope.'),
  E_DEPTH: row(422, INVALID, false, 'The value is nested deeper than is allowed.'),
  E_FORBIDDEN_KEY: row(422, INVALID, false, 'The value has a key that is not allowed.'),
  E_NUMBER: row(422, INVALID, false, 'A number is not finite, or too large for a float32.'),
  E_DECODE: row(422, INVALID, false, 'The bytes could not be decoded.'),
  E_SHAPE: row(422, INVALID, false, 'The tensor has the wrong shape, type or number of bytes.'),
  E_SEQ_LATE: row(409, PRECONDITION, false, 'A frame with this number or a later one was already taken.'),
  E_IMAGE_TYPE: row(415, INVALID, false, 'The picture is neither JPEG, PNG nor WebP.'),
  E_IMAGE_PIXELS: row(413, INVALID, false, 'The picture has more pixels than are allowed.'),
  E_IMAGE_CORRUPT: row(422, INVALID, false, 'The picture is truncated or damaged.'),
  E_MASK: row(503, UNAVAILABLE, false, 'The frame could not be masked, so nothing of it was used.'),
  E_EXPIRED: row(504, DEADLINE, false, 'The deadline passed before the unit was computed.'),
  E_DROPPED: row(503, UNAVAILABLE, true, 'A newer frame took its place before it was computed.'),
  E_ATTEMPTS: row(500, INTERNAL, false, 'Every attempt ended in a crash or a hang.'),
  E_CRASHED: row(500, INTERNAL, true, 'The child process that worked on it ended unexpectedly.'),
  E_TIMEOUT: row(504, DEADLINE, true, 'It took longer than its limit.'),
  E_BUSY: row(503, EXHAUSTED, true, 'A bounded queue is full.'),
  // models
  E_MODEL_UNKNOWN: row(404, NOT_FOUND, false, 'There is no such model or version.'),
  E_MODEL_NOT_READY: row(503, UNAVAILABLE, true, 'The model is not ready.'),
  E_MODEL_PARSE: row(422, INVALID, false, 'The model file is not a readable ONNX graph.'),
  E_MODEL_OP: row(422, INVALID, false, 'The model uses an operator that is not allowed.'),
  E_MODEL_EXTERNAL: row(422, INVALID, false, 'The model refers to data outside its file.'),
  E_MODEL_HASH: row(422, DATA_LOSS, false, 'A model file differs from the hash in its passport.'),
  E_MODEL_GOLDEN: row(422, PRECONDITION, false, 'The model does not give the result its passport promises.'),
  E_MODEL_OUTPUT: row(500, INTERNAL, false, 'The model gave a result that is not a finite number.'),
  E_MODEL_RUN: row(500, INTERNAL, false, 'The run failed inside the model.'),
  E_MODEL_TIMEOUT: row(504, DEADLINE, true, 'The run exceeded run_ms_max and was ended.'),
  E_MODEL_CRASH: row(500, INTERNAL, true, 'The runner ended during the run.'),
  E_MODEL_OOM: row(500, EXHAUSTED, false, 'The run needed more memory than the model may use.'),
  E_MODEL_PROVIDER: row(503, PRECONDITION, false, 'The execution provider that is asked for is not there.'),
  E_PASSPORT: row(422, INVALID, false, 'The passport is not valid.'),
  E_ARCHIVE: row(422, INVALID, false, 'The archive is damaged, or holds something that does not belong in it.'),
  E_PASSPORT_CHANGED: row(409, ABORTED, true, 'The unit was prepared for another passport.'),
  // links and processes
  E_LINK_VERSION: row(502, PRECONDITION, false, 'The peers speak different versions of the framed link.'),
  E_LINK_PROTOCOL: row(502, INTERNAL, false, 'The peer sent bytes that are no frame of the link.'),
  E_LINK_TOKEN: row(401, UNAUTHENTICATED, false, 'The peer did not present the right token.'),
  E_LINK_CLOSED: row(503, UNAVAILABLE, true, 'The link to the peer is down.'),
  E_CANCELLED: row(499, CANCELLED, true, 'The caller gave up.'),
  E_UNAVAILABLE: row(503, UNAVAILABLE, true, 'A part of Brink that is needed is not reachable.'),
  E_BROKER: row(503, UNAVAILABLE, true, 'The MQTT broker is not reachable or refused the connection.'),
  // configuration, storage, start
  E_CONFIG: row(422, INVALID, false, 'The configuration is not valid.'),
  E_REVISION: row(412, ABORTED, false, 'Another configuration is active than the one that was expected.'),
  E_SETTING: row(500, INVALID, false, 'A process setting (environment variable) is not valid.'),
  E_PORT: row(500, EXISTS, false, 'The port or socket is already in use.'),
  E_LOCKED: row(500, EXISTS, false, 'Another process uses the same data folder.'),
  E_STORAGE_READONLY: row(507, PRECONDITION, false, 'The data folder cannot be written.'),
  E_STORAGE_FULL: row(507, EXHAUSTED, true, 'The disk or the store is full.'),
  E_STORAGE_CORRUPT: row(500, DATA_LOSS, false, 'The store is damaged.'),
  E_STORAGE_NEWER: row(500, PRECONDITION, false, 'The store was written by a newer version of Brink.'),
  // rules and actions
  E_RULE: row(422, INVALID, false, 'The condition of a rule cannot be evaluated.'),
  E_RULE_DISARMED: row(409, PRECONDITION, false, 'The rule is disarmed or snoozed; the action is not sent.'),
  E_ACTION_STALE: row(409, PRECONDITION, false, 'The trigger is older than stale_ms_max; the action is not sent.'),
  E_ACTION_EXPIRED: row(504, DEADLINE, false, 'The action expired before it was acknowledged.'),
  E_ACTION_REFUSED: row(409, PRECONDITION, false, 'Who the action was for answered that it was not carried out.'),
  E_TARGET_GONE: row(410, PRECONDITION, false, 'The receiver said that it is gone for good.'),
  E_SECRET: row(503, PRECONDITION, true, 'A secret that the configuration names is not there, or others may read it.'),
  E_SSRF_BLOCKED: row(403, DENIED, false, 'The address is not one that requests may go to.'),
  // HTTP
  E_BAD_REQUEST: row(400, INVALID, false, 'The request is not valid.'),
  E_UNAUTHORISED: row(401, UNAUTHENTICATED, false, 'The request carries no valid token.'),
  E_FORBIDDEN: row(403, DENIED, false, 'The token does not allow this.'),
  E_NOT_FOUND: row(404, NOT_FOUND, false, 'There is nothing under this address.'),
  E_METHOD: row(405, UNIMPLEMENTED, false, 'The address does not take this method.'),
  E_CONFLICT: row(409, ABORTED, false, 'It is in a state that does not allow this.'),
  E_MEDIA_TYPE: row(415, INVALID, false, 'The content type is not one that this address takes.'),
  E_RATE: row(429, EXHAUSTED, true, 'Too many requests.'),
  E_UNSUPPORTED: row(501, UNIMPLEMENTED, false, 'This version of Brink does not do that.'),
  E_INTERNAL: row(500, INTERNAL, false, 'Something went wrong that Brink did not foresee.'),
} as const;

export type ErrorCode = keyof typeof ERROR_TABLE;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_TABLE, code);
}

/** The only error that Brink throws on purpose. `detail` says what was wrong, where, and what was expected. */
export class BrinkError extends Error {
  override readonly name = 'BrinkError';
  readonly code: ErrorCode;
  readonly detail: string;
  /** Of a refusal: when it may go better, as far as that can be told. HTTP says it as Retry-After, the link in `Failure`. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, detail: string, options?: { cause?: unknown; retryAfterMs?: number | undefined }) {
    super(`${code}: ${detail}`, options);
    this.code = code;
    this.detail = detail;
    this.retryAfterMs = options?.retryAfterMs;
  }

  get retryable(): boolean {
    return ERROR_TABLE[this.code].retryable;
  }

  /** The single place where something unknown becomes a BrinkError. */
  static from(reason: unknown, code: ErrorCode = 'E_INTERNAL'): BrinkError {
    if (reason instanceof BrinkError) return reason;
    if (reason instanceof Error) {
      if (reason.name === 'AbortError') return new BrinkError('E_CANCELLED', reason.message, { cause: reason });
      if (reason.name === 'TimeoutError') return new BrinkError('E_TIMEOUT', reason.message, { cause: reason });
      return new BrinkError(code, reason.message, { cause: reason });
    }
    return new BrinkError(code, String(reason));
  }
}
