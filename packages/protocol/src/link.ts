// The part of the protocol that a child process needs: errors and the headers of the framed link, without the schemas. Those bring
// zod along, 50 MB for each process (and each thread) that imports them.
export { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
export { BrinkError, type ErrorCode, isErrorCode } from './errors.ts';
export * as link from './gen/brink/v1/link_pb.js';
