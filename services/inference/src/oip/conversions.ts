import { readMessage } from './grpc/requests.ts';
import { answerJson } from './http/answers.ts';
import { readInferRequest } from './http/requests.ts';

/** What takes time with the length of a message. Plain data in and out; each may run in either thread. */
export const CONVERSIONS = {
  httpRequest: readInferRequest,
  httpAnswer: answerJson,
  grpcRequest: readMessage,
} as const;

export type ConversionName = keyof typeof CONVERSIONS;
export type InputOf<N extends ConversionName> = Parameters<(typeof CONVERSIONS)[N]>[0];
export type OutputOf<N extends ConversionName> = ReturnType<(typeof CONVERSIONS)[N]>;
