import { type create, fromBinary, oip, toBinary } from '@brink/protocol';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

type Methods = typeof oip.GRPCInferenceService.method;
export type MethodName = keyof Methods;
type MessageOf<Schema> = Schema extends Parameters<typeof create>[0] ? ReturnType<typeof create<Schema>> : never;
export type RequestOf<Name extends MethodName> = MessageOf<Methods[Name]['input']>;
export type ResponseOf<Name extends MethodName> = MessageOf<Methods[Name]['output']>;

/** The service as grpc-js wants it. Requests stay bytes: who handles a call reads them, at once or in a thread. */
export function serviceDefinition(): ServiceDefinition {
  const { typeName, methods } = oip.GRPCInferenceService;
  return Object.fromEntries(
    methods.map((method): [string, MethodDefinition<object, object>] => {
      const { input, output, methodKind } = method;
      return [
        method.localName,
        {
          path: `/${typeName}/${method.name}`,
          requestStream: methodKind === 'client_streaming' || methodKind === 'bidi_streaming',
          responseStream: methodKind === 'server_streaming' || methodKind === 'bidi_streaming',
          requestSerialize: (message) => asBuffer(toBinary(input, message as never)),
          requestDeserialize: (bytes) => bytes,
          responseSerialize: (message) => asBuffer(toBinary(output, message as never)),
          responseDeserialize: (bytes) => fromBinary(output, bytes),
        },
      ];
    }),
  );
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
