import { create, fromBinary, oip, toBinary } from '@brink/protocol';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';

// Clients of the Open Inference Protocol as somebody else would write them: they know the protocol and nothing of the service.

export type Element = number | bigint | string | boolean;

export interface CaseTensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  /** elements, or the bytes as they travel */
  readonly data: readonly Element[] | Uint8Array;
}

export interface CaseRequest {
  readonly model: string;
  readonly version?: string;
  readonly id?: string;
  readonly parameters?: Readonly<Record<string, string | number | boolean>>;
  readonly inputs: readonly CaseTensor[];
  readonly outputs?: readonly { name: string; classification?: number }[];
}

export interface CaseAnswer {
  readonly model: string;
  readonly version: string;
  readonly id: string | undefined;
  readonly outputs: readonly { name: string; datatype: string; shape: number[]; data: Element[] }[];
}

/** status: of HTTP or of gRPC; text: what the server says about it */
export type CaseResult = { answer: CaseAnswer } | { status: number; text: string };

type Typed = { length: number; buffer: ArrayBufferLike } & Iterable<number | bigint>;
const ARRAYS: Record<string, { from(list: Iterable<never>): Typed; new (buffer: ArrayBuffer): Typed }> = {
  FP32: Float32Array,
  FP64: Float64Array,
  UINT8: Uint8Array,
  INT8: Int8Array,
  UINT16: Uint16Array,
  INT16: Int16Array,
  UINT32: Uint32Array,
  INT32: Int32Array,
  UINT64: BigUint64Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
} as never;

/** Little-endian; BYTES with a length of 4 bytes before each element. */
function toBytes({ datatype, data }: Pick<CaseTensor, 'datatype' | 'data'>): Buffer {
  if (data instanceof Uint8Array) return Buffer.from(data);
  if (datatype === 'BOOL') return Buffer.from(data.map(Number));
  if (datatype === 'BYTES') {
    return Buffer.concat(
      data.map((text) => {
        const bytes = Buffer.from(String(text));
        const length = Buffer.alloc(4);
        length.writeUInt32LE(bytes.length);
        return Buffer.concat([length, bytes]);
      }),
    );
  }
  const is64 = datatype === 'INT64' || datatype === 'UINT64';
  const list = is64 ? data.map((one) => BigInt(one as number)) : data;
  const Kind = ARRAYS[datatype];
  if (Kind === undefined) return Buffer.alloc(data.length * 4);
  return Buffer.from(Kind.from(list as never).buffer as ArrayBuffer);
}

function fromBytes(datatype: string, bytes: Uint8Array): Element[] {
  const copy = Uint8Array.from(bytes);
  if (datatype === 'BOOL') return [...copy].map((one) => one === 1);
  if (datatype === 'BYTES') {
    const texts: string[] = [];
    const buffer = Buffer.from(copy);
    for (let at = 0; at < buffer.length; ) {
      const length = buffer.readUInt32LE(at);
      texts.push(buffer.toString('utf8', at + 4, at + 4 + length));
      at += 4 + length;
    }
    return texts;
  }
  const Kind = ARRAYS[datatype]!;
  return [...new Kind(copy.buffer)];
}

/** Files as BYTES. */
export function packed(...files: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(
    files.map((file) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(file.length);
      return Buffer.concat([length, file]);
    }),
  );
}

const pathOf = ({ model, version }: CaseRequest) =>
  `/v2/models/${model}${version === undefined ? '' : `/versions/${version}`}/infer`;

/** @param isBinary both ways */
export async function inferHttp(base: string, request: CaseRequest, isBinary: boolean): Promise<CaseResult> {
  const { id, parameters = {}, outputs } = request;
  const binary: Buffer[] = [];
  const inputs = request.inputs.map(({ name, datatype, shape, data }) => {
    if (!isBinary) return { name, datatype, shape, data };
    const bytes = toBytes({ datatype, data });
    binary.push(bytes);
    return { name, datatype, shape, parameters: { binary_data_size: bytes.length } };
  });
  const said = {
    id,
    inputs,
    parameters: isBinary ? { ...parameters, binary_data_output: true } : parameters,
    outputs: outputs?.map(({ name, classification }) => ({
      name,
      parameters: classification === undefined ? {} : { classification },
    })),
  };
  // BigInt as it is written: what JSON.stringify would refuse.
  const text = JSON.stringify(said, (_, value: unknown) => (typeof value === 'bigint' ? `BIG${value}` : value));
  const json = Buffer.from(text.replace(/"BIG(-?\d+)"/g, '$1'));
  const headers: Record<string, string> = {
    'content-type': isBinary ? 'application/octet-stream' : 'application/json',
  };
  if (isBinary) headers['inference-header-content-length'] = String(json.length);
  const body = Buffer.concat([json, ...binary]);
  const response = await fetch(`${base}${pathOf(request)}`, { method: 'POST', headers, body });
  return readAnswer(response);
}

export async function readAnswer(response: Response): Promise<CaseResult> {
  const body = Buffer.from(await response.arrayBuffer());
  if (response.status !== 200) {
    const said = JSON.parse(body.toString('utf8')) as { error: string };
    if (Object.keys(said).join() !== 'error') throw new Error(`not an error of the protocol: ${body}`);
    return { status: response.status, text: said.error };
  }
  const header = response.headers.get('inference-header-content-length');
  const length = header === null ? body.length : Number(header);
  const said = JSON.parse(body.subarray(0, length).toString('utf8')) as {
    model_name: string;
    model_version: string;
    id?: string;
    outputs: {
      name: string;
      datatype: string;
      shape: number[];
      data?: Element[];
      parameters?: { binary_data_size: number };
    }[];
  };
  let at = length;
  const outputs = said.outputs.map(({ name, datatype, shape, data, parameters }) => {
    if (data !== undefined) return { name, datatype, shape, data };
    const bytes = body.subarray(at, at + (parameters?.binary_data_size ?? 0));
    at += bytes.length;
    return { name, datatype, shape, data: fromBytes(datatype, bytes) };
  });
  if (at !== body.length) throw new Error(`${body.length - at} bytes too many behind the answer`);
  return { answer: { model: said.model_name, version: said.model_version, id: said.id, outputs } };
}

const FIELDS: Record<string, string> = {
  BOOL: 'boolContents',
  INT8: 'intContents',
  INT16: 'intContents',
  INT32: 'intContents',
  INT64: 'int64Contents',
  UINT8: 'uintContents',
  UINT16: 'uintContents',
  UINT32: 'uintContents',
  UINT64: 'uint64Contents',
  FP32: 'fp32Contents',
  FP64: 'fp64Contents',
  BYTES: 'bytesContents',
};

function contentsOf({ datatype, data }: CaseTensor): Record<string, unknown> {
  const field = FIELDS[datatype] ?? 'fp32Contents';
  if (data instanceof Uint8Array && datatype === 'BYTES') {
    const files: Uint8Array[] = [];
    const buffer = Buffer.from(data);
    for (let at = 0; at < buffer.length; at += 4 + buffer.readUInt32LE(at)) {
      files.push(buffer.subarray(at + 4, at + 4 + buffer.readUInt32LE(at)));
    }
    return { [field]: files };
  }
  const list = [...(data as readonly Element[])];
  if (datatype === 'INT64' || datatype === 'UINT64') return { [field]: list.map((one) => BigInt(one as number)) };
  return { [field]: datatype === 'BYTES' ? list.map((one) => Buffer.from(String(one))) : list };
}

export function grpcRequest(request: CaseRequest, isRaw: boolean): oip.ModelInferRequest {
  const parameter = (value: string | number | boolean) => {
    if (typeof value === 'boolean') return { parameterChoice: { case: 'boolParam' as const, value } };
    if (typeof value === 'string') return { parameterChoice: { case: 'stringParam' as const, value } };
    if (!Number.isInteger(value)) return { parameterChoice: { case: 'doubleParam' as const, value } };
    return { parameterChoice: { case: 'int64Param' as const, value: BigInt(value) } };
  };
  const parameters = Object.entries(request.parameters ?? {}).map(([key, value]) => [key, parameter(value)]);
  return create(oip.ModelInferRequestSchema, {
    modelName: request.model,
    modelVersion: request.version ?? '',
    id: request.id ?? '',
    parameters: Object.fromEntries(parameters),
    inputs: request.inputs.map((tensor) => ({
      name: tensor.name,
      datatype: tensor.datatype,
      shape: tensor.shape.map(BigInt),
      ...(isRaw ? {} : { contents: contentsOf(tensor) }),
    })),
    outputs: (request.outputs ?? []).map(({ name, classification }) => ({
      name,
      parameters: classification === undefined ? {} : { classification: parameter(classification) },
    })),
    rawInputContents: isRaw ? request.inputs.map(toBytes) : [],
  });
}

export function grpcAnswer(said: oip.ModelInferResponse): CaseAnswer {
  return {
    model: said.modelName,
    version: said.modelVersion,
    id: said.id === '' ? undefined : said.id,
    outputs: said.outputs.map(({ name, datatype, shape }, at) => ({
      name,
      datatype,
      shape: shape.map(Number),
      data: fromBytes(datatype, said.rawOutputContents[at]!),
    })),
  };
}

type Methods = typeof oip.GRPCInferenceService.method;
type Name = Exclude<keyof Methods, 'modelStreamInfer'>;
type Schema = Parameters<typeof create>[0];
type MessageOf<S> = S extends Schema ? ReturnType<typeof create<S>> : never;

/** A plain client of grpc-js. */
export function createGrpcClient(address: string, token?: string) {
  const client = new Client(address, credentials.createInsecure(), { 'grpc.max_receive_message_length': -1 });
  const metadata = new Metadata();
  if (token !== undefined) metadata.set('authorization', token);
  const pathOfMethod = (name: string) => `/inference.GRPCInferenceService/${name[0]!.toUpperCase()}${name.slice(1)}`;
  return {
    metadata,
    call<N extends Name>(
      name: N,
      request: object,
      o: { timeoutMs?: number } = {},
    ): Promise<MessageOf<Methods[N]['output']>> {
      const { input, output } = oip.GRPCInferenceService.method[name] as { input: Schema; output: Schema };
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          pathOfMethod(name),
          (message: object) => Buffer.from(toBinary(input, create(input, message as never))),
          (bytes: Buffer) => fromBinary(output, bytes),
          request,
          metadata,
          o.timeoutMs === undefined ? {} : { deadline: Date.now() + o.timeoutMs },
          (error: ServiceError | null, answer?: unknown) => {
            if (error === null) resolve(answer as never);
            else reject(error);
          },
        );
      });
    },
    stream() {
      const { input, output } = oip.GRPCInferenceService.method.modelStreamInfer;
      return client.makeBidiStreamRequest<oip.ModelInferRequest, oip.ModelStreamInferResponse>(
        pathOfMethod('modelStreamInfer'),
        (message) => Buffer.from(toBinary(input, message)),
        (bytes) => fromBinary(output, bytes),
        metadata,
      );
    },
    /** @param bytes as they go out */
    raw(path: string, bytes: Buffer): Promise<Buffer> {
      return new Promise((resolve, reject) => {
        const asIs = (one: Buffer) => one;
        client.makeUnaryRequest(path, asIs, asIs, bytes, metadata, (error, answer) => {
          if (error === null) resolve(answer as Buffer);
          else reject(error);
        });
      });
    },
    close: () => client.close(),
  };
}
export type GrpcClient = ReturnType<typeof createGrpcClient>;

export async function inferGrpc(client: GrpcClient, request: CaseRequest, isRaw: boolean): Promise<CaseResult> {
  try {
    return { answer: grpcAnswer(await client.call('modelInfer', grpcRequest(request, isRaw))) };
  } catch (reason) {
    const { code, details } = reason as ServiceError;
    return { status: code, text: details };
  }
}
