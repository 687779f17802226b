import type { BrinkError, link, MessageInitShape } from '@brink/protocol/link';

type Case<Body> = Exclude<Body, { case: undefined } | undefined>;

/** What a request says: `{ case, value }`; `value` may be a plain object with the fields of its message. */
export type RequestBody = Case<MessageInitShape<typeof link.RequestSchema>['body']>;
/** What an answer says, as it is given. */
export type ReplyBody = Case<MessageInitShape<typeof link.ReplySchema>['body']>;

type ReceivedRequest = Case<link.Request['body']>;
type ReceivedReply = Case<link.Reply['body']>;
export type RequestCase = ReceivedRequest['case'];

export interface LinkReply {
  body: ReceivedReply;
  /** Views of one receive buffer, each at a multiple of 64 in it. Keeping one keeps the whole frame. */
  payloads: Buffer[];
  /**
   * The payloads are used no more, by nobody: their buffer goes to another frame. Worth it for large payloads at a high rate (a
   * collection less for each 64 MiB); never needed. Where they were passed on in another request, only after that one was answered.
   */
  release(): void;
}

/** What the peer said of itself in its hello. */
export interface PeerInfo {
  service: string;
  instance: string;
  /** of the link, as agreed */
  version: number;
  /** requests that it takes at once */
  window: number;
  /** the longest frame that it takes */
  frameBytesMax: number;
}

export interface HandlerContext {
  /** Aborts when the requester gave up or the link closed. */
  readonly signal: AbortSignal;
  readonly peer: PeerInfo;
  /** The link that the request came over. */
  readonly link: LinkPeer;
  /** As `LinkReply.release`, for the payloads of the request; before or after the answer. */
  release(): void;
}

/**
 * One handler per kind of request; kinds without one are answered E_UNSUPPORTED. What a handler throws becomes the answer's code
 * and detail. Payloads of an answer are not copied: they must not be changed afterwards.
 */
export type LinkHandlers = {
  [Body in ReceivedRequest as Body['case']]?: (
    value: Body['value'],
    payloads: Buffer[],
    context: HandlerContext,
  ) => Promise<{ body: ReplyBody; payloads?: Uint8Array[] }>;
};

export interface LinkPeer {
  /**
   * Waits while the peer's window is full, up to the limits of `LinkOptions`; E_BUSY beyond. Payloads are not copied: they must not
   * be changed until the promise settles. A request that was given up (signal, time) rejects at once and is cancelled at the
   * peer; it keeps its place in the window until the peer has answered it.
   * @throws BrinkError the peer's code; E_LINK_CLOSED, E_TIMEOUT, E_CANCELLED, E_BUSY, E_TOO_LARGE
   */
  request(body: RequestBody, payloads?: Uint8Array[], o?: RequestOptions): Promise<LinkReply>;
  readonly info: PeerInfo;
  /** Requests to the peer that it has not answered yet, given-up ones included. */
  readonly inFlight: number;
  /** Requests to the peer that wait for a place in its window. */
  readonly waiting: number;
  /** Resolves when the link is down, with the reason. */
  readonly closed: Promise<BrinkError>;
  close(): void;
}

export interface RequestOptions {
  signal?: AbortSignal;
  /** from the call, waiting included; default LinkOptions.requestTimeoutMs; 0 = none */
  timeoutMs?: number;
}

export interface LinkOptions {
  service: string;
  instance: string;
  /** Presented in our hello. Only the side that dials gives it. */
  token?: string;
  /** What the peer must present; the hello is then answered only after it did. Only the side that listens gives it. */
  expectToken?: string;
  /** Requests that we take at once. More is an error of the peer. */
  window: number;
  /** The longest frame that we take, in bytes. */
  frameBytesMax: number;
  /** default 5000 */
  helloTimeoutMs?: number;
  /** default 60,000; 0 = none */
  requestTimeoutMs?: number;
  /** Requests that may wait for the peer's window; default 1024. */
  waitingMax?: number;
  /** Bytes that may wait here: of requests before they are sent, and again in the socket. Default max(16 MiB, 2 · frameBytesMax). */
  outgoingBytesMax?: number;
  /** A peer that takes none of the bytes waiting for it for so long is given up; default 30,000. */
  stallMs?: number;
  /** Versions of the link; for tests of N and N−1. */
  versions?: { highest: number; lowest: number };
}
