import { type AddressInfo, createServer, type Server as NetServer } from 'node:net';
import { BrinkError, ERROR_TABLE, fromBinary, oip } from '@brink/protocol';
import { type Logger, listenError, type Part } from '@brink/runtime';
import {
  Metadata,
  ResponderBuilder,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  ServerInterceptingCall,
  type ServerInterceptor,
  ServerListenerBuilder,
  type ServerUnaryCall,
  type sendUnaryData,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import type { Metrics } from '../../metrics.ts';
import { LONG_BYTES } from '../converter.ts';
import type { OipEngine } from '../engine.ts';
import { createTokenCheck, retryAfterSeconds, unauthorised } from '../errors.ts';
import { type CallContext, createCalls, infer, scan } from './calls.ts';
import { type MethodName, serviceDefinition } from './definition.ts';
import { decoded } from './requests.ts';
import { serveStream } from './stream.ts';

export interface OipGrpcOptions {
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
  /** of one message, either way */
  readonly bodyBytesMax: number;
  readonly version: string;
  /** clients at once; further connections are closed. Default 1024 */
  readonly connectionsMax?: number;
  /** for the message of a call to arrive. Default 30,000 */
  readonly requestMsMax?: number;
}

const CONNECTIONS_MAX = 1024;
/** Calls at once over all connections. */
const CALLS_MAX = 1024;
/** Of the messages of all unary calls together. */
const HELD_BYTES_MAX = 256 * 1024 * 1024;
const STREAMS_PER_CONNECTION_MAX = 256;
/** For the message of a call to arrive; a stream may be silent for as long as it likes. */
const REQUEST_MS_MAX = 30_000;
/** A peer that is gone without a word is noticed. */
const PING_MS = 60_000;
const PING_ANSWER_MS_MAX = 20_000;
const STOP_MS = 1000;
/** Tensors are long, and the flow-control window of HTTP/2 is 64 KiB by default. */
const WINDOW_BYTES = 8 * 1024 * 1024;

/** The Open Inference Protocol v2 over gRPC, with Triton's calls. @throws BrinkError E_PORT at start */
export function createOipGrpc(
  o: OipGrpcOptions,
  d: { engine: OipEngine; metrics: Metrics; logger: Logger },
): Part & { readonly address: { host: string; port: number } } {
  let server: Server | undefined;
  let door: NetServer | undefined;
  let port = o.port;
  return {
    get address() {
      return { host: o.host, port };
    },
    async start() {
      server = new Server({
        'grpc.max_receive_message_length': o.bodyBytesMax,
        'grpc.max_send_message_length': -1,
        'grpc.max_concurrent_streams': STREAMS_PER_CONNECTION_MAX,
        'grpc.keepalive_time_ms': PING_MS,
        'grpc.keepalive_timeout_ms': PING_ANSWER_MS_MAX,
        'grpc-node.flow_control_window': WINDOW_BYTES,
        interceptors: [createGuard(o)],
      });
      server.addService(serviceDefinition(), implementation(o, d));
      door = await openDoor(server, o);
      port = (door.address() as AddressInfo).port;
    },
    async stop() {
      const stopping = server;
      server = undefined;
      door?.close();
      if (stopping === undefined) return;
      const timer = setTimeout(() => stopping.forceShutdown(), STOP_MS);
      await new Promise<void>((resolve) => stopping.tryShutdown(() => resolve()));
      clearTimeout(timer);
    },
  };
}

/** Our own listener in front of grpc-js, which has no limit for connections. */
function openDoor(server: Server, { host, port, connectionsMax }: OipGrpcOptions): Promise<NetServer> {
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
  const door = createServer({ noDelay: true }, (socket) => injector.injectConnection(socket));
  door.maxConnections = connectionsMax ?? CONNECTIONS_MAX;
  return new Promise((resolve, reject) => {
    door.once('error', (reason: NodeJS.ErrnoException) => reject(listenError(reason, `${host}:${port}`)));
    door.listen(port, host, () => resolve(door));
  });
}

/**
 * The token, before a message is read (ServerLive and ServerReady stay open for probes), and a limit for half a message that waits.
 */
function createGuard(o: OipGrpcOptions): ServerInterceptor {
  const isRight = createTokenCheck(o.token);
  const limitMs = o.requestMsMax ?? REQUEST_MS_MAX;
  return (method, call) => {
    const open = method.path.endsWith('/ServerLive') || method.path.endsWith('/ServerReady');
    let timer: NodeJS.Timeout | undefined;
    const arrived = () => clearTimeout(timer);
    const late = () =>
      call.sendStatus(statusOf(new BrinkError('E_TIMEOUT', `the message did not arrive within ${limitMs} ms`)));
    const listener = new ServerListenerBuilder()
      .withOnReceiveMetadata((metadata, next) => {
        if (!open && !isRight(metadata.get('authorization')[0]?.toString())) {
          call.sendStatus(statusOf(unauthorised()));
          return;
        }
        if (!method.requestStream) timer = setTimeout(late, limitMs);
        next(metadata);
      })
      .withOnReceiveHalfClose((next) => {
        arrived();
        next();
      })
      .withOnCancel(arrived)
      .build();
    const responder = new ResponderBuilder().withStart((next) => next(listener)).build();
    return new ServerInterceptingCall(call, responder);
  };
}

type Dependencies = { engine: OipEngine; metrics: Metrics; logger: Logger };
type AnyCall = ServerUnaryCall<Uint8Array, object> | ServerDuplexStream<Uint8Array, object>;
type Handle = (message: Uint8Array, context: CallContext) => Promise<object>;

function implementation(o: OipGrpcOptions, d: Dependencies): UntypedServiceImplementation {
  const calls: Record<string, (request: never) => Promise<object>> = createCalls(o, d.engine);
  const handles: Record<string, Handle> = {
    modelInfer: (message, context) => infer(d.engine, message, scan(message), context),
  };
  for (const [name, handle] of Object.entries(calls)) {
    handles[name] = async (message) => handle(readShort(name as MethodName, message) as never);
  }
  let open = 0;
  let heldBytes = 0;

  /** What an error says, counted. */
  function fail(reason: unknown): ReturnType<typeof statusOf> {
    const error = BrinkError.from(reason);
    if (error.code === 'E_INTERNAL') d.logger.error({ err: error }, 'call failed');
    const status = statusOf(error);
    d.metrics.grpc.inc({ code: String(status.code) });
    return status;
  }

  const unary = Object.entries(handles).map(([name, handle]) => {
    const serve = async (call: ServerUnaryCall<Uint8Array, object>, done: sendUnaryData<object>) => {
      const { length } = call.request;
      open += 1;
      heldBytes += length;
      try {
        if (open > CALLS_MAX) throw new BrinkError('E_BUSY', `${CALLS_MAX} calls are open; no more may be`);
        if (heldBytes > HELD_BYTES_MAX && heldBytes > length) {
          throw new BrinkError('E_BUSY', `${HELD_BYTES_MAX} bytes of messages are held already; no more may`);
        }
        const answer = await handle(call.request, contextOf(call));
        d.metrics.grpc.inc({ code: '0' });
        done(null, answer);
      } catch (reason) {
        done(fail(reason));
      } finally {
        open -= 1;
        heldBytes -= length;
      }
    };
    return [name, (...of: Parameters<typeof serve>) => void serve(...of)] as const;
  });
  const modelStreamInfer = (stream: ServerDuplexStream<Uint8Array, oip.ModelStreamInferResponse>) => {
    if (open >= CALLS_MAX) {
      stream.destroy(Object.assign(new Error(), fail(new BrinkError('E_BUSY', `${CALLS_MAX} calls are open`))));
      return;
    }
    open += 1;
    stream.once('close', () => {
      open -= 1;
    });
    serveStream(d.engine, stream, contextOf(stream));
  };
  return { ...Object.fromEntries(unary), modelStreamInfer };
}

/** What is asked beside tensors is short, and is read at once. @throws BrinkError E_BAD_REQUEST, E_TOO_LARGE */
function readShort(name: MethodName, message: Uint8Array): object {
  if (message.length > LONG_BYTES) {
    throw new BrinkError('E_TOO_LARGE', `the message has ${message.length} bytes; ${name} takes at most ${LONG_BYTES}`);
  }
  return decoded(() => fromBinary(oip.GRPCInferenceService.method[name].input, message));
}

function contextOf(call: AnyCall): CallContext {
  const gone = new AbortController();
  call.on('cancelled', () => gone.abort());
  const deadline = call.getDeadline();
  const at = deadline instanceof Date ? deadline.getTime() : deadline;
  return {
    // "127.0.0.1:54321"; one machine is one client.
    client: `grpc ${call.getPeer().replace(/:\d+$/, '')}`,
    leftMs: Number.isFinite(at) ? Math.max(0, at - Date.now()) : Number.POSITIVE_INFINITY,
    signal: gone.signal,
  };
}

/** The one error table, for gRPC. */
function statusOf(error: BrinkError) {
  const metadata = new Metadata();
  const { grpc, http } = ERROR_TABLE[error.code];
  if (http === 503) metadata.set('retry-after', String(retryAfterSeconds(error)));
  return { code: grpc as number, details: error.message, metadata };
}
