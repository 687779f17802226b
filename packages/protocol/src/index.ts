export {
  type AuditEntry,
  AuditEntrySchema,
  type IssuedToken,
  IssuedTokenSchema,
  type NewToken,
  NewTokenSchema,
  SCOPES,
  type Scope,
  ScopeSchema,
  TOKEN_DAYS_MAX,
  type Token,
  TokenSchema,
} from './access.ts';
// What builds, writes and reads protobuf: the headers of the framed link, and the Open Inference Protocol over gRPC.
export { create, fromBinary, fromJson, type JsonValue, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
export {
  type ActionConfig,
  ActionSchema,
  CommandActionSchema,
  type Configuration,
  ConfigurationSchema,
  FRAME_BYTES_MAX,
  FRAME_BYTES_MAX_DEFAULT,
  type ModelPolicy,
  ModelPolicySchema,
  MqttActionSchema,
  type PipelineConfig,
  PipelineSchema,
  type PublishedConfiguration,
  PublishedConfigurationSchema,
  RecordActionSchema,
  type RuleConfig,
  RuleSchema,
  SiteSchema,
  type StreamConfig,
  StreamSchema,
} from './configuration.ts';
export {
  BoxSchema,
  ClassScoreSchema,
  type DeadLetter,
  DeadLetterSchema,
  type Decision,
  DecisionSchema,
  EVIDENCE_BYTES_MAX,
  type Evidence,
  EvidenceSchema,
  type Outcome,
  OutcomeOrDeadLetterSchema,
  OutcomeSchema,
  type Result,
  ResultSchema,
  type Task,
  TaskSchema,
} from './decision.ts';
export { type Detector, detectorMisfit, detectorOf } from './detector.ts';
export { BrinkError, ERROR_TABLE, type ErrorCode, isErrorCode } from './errors.ts';
export {
  checkForeignTopics,
  deviceNameOf,
  type ForeignTopic,
  foreignFilters,
  foreignTopicProblem,
  parseForeignTopic,
} from './foreign-topics.ts';
export * as link from './gen/brink/v1/link_pb.js';
export * as oip from './gen/inference/open_inference_pb.js';
export {
  ConfigProblemSchema,
  type Credentials,
  CredentialsSchema,
  type PostedFrameAnswer,
  PostedFrameSchema,
  type Status,
  StatusSchema,
} from './http.ts';
export {
  type ActionTrigger,
  BootSchema,
  type FrameId,
  formatActionId,
  formatUnitId,
  isBoot,
  isName,
  NameSchema,
  parseSeq,
  parseUnitId,
  SeqSchema,
  type UnitId,
} from './ids.ts';
export { DenoiseSchema, FaceMaskSchema, FieldMaskSchema, type MaskConfig, MaskSchema } from './mask.ts';
export {
  type Ack,
  AckSchema,
  type Command,
  CommandSchema,
  type DeviceState,
  DeviceStateSchema,
  DeviceStatusSchema,
  type Discovered,
  DiscoveredSchema,
  type FleetStatus,
  FleetStatusSchema,
  type GatewayReport,
  GatewayReportSchema,
  PipelineCountsSchema,
  ReceiptSchema,
  RetiredSchema,
  StreamCountsSchema,
} from './messages.ts';
export {
  type ChainPassport,
  ChainPassportSchema,
  isChain,
  type Step,
  StepSchema,
  stepModel,
} from './passport/chain.ts';
export { type Expect, ExpectSchema, type Golden, GoldenSchema } from './passport/golden.ts';
export {
  type AudioInput,
  AudioInputSchema,
  type ConstantInput,
  ConstantInputSchema,
  type ImageInput,
  ImageInputSchema,
  InputSchema,
  type InputSpec,
  type Mfcc,
  MfccSchema,
  type SignalInput,
  SignalInputSchema,
  StateSchema,
  type StateSpec,
  type TextInput,
  TextInputSchema,
} from './passport/inputs.ts';
export {
  DECODER_TASKS,
  type DecoderName,
  labelFiles,
  type OutputOf,
  OutputSchema,
  type OutputSpec,
  outputFiles,
  RECONSTRUCTION_ERROR,
} from './passport/output.ts';
export { type Passport, PassportSchema } from './passport/passport.ts';
export { passportProblems } from './passport/problems.ts';
export { ErrorCodeSchema, type Problem, ProblemSchema, problemOf } from './problem.ts';
export {
  RECORDING_FRAMES_MAX,
  type RecordedFrame,
  type Recording,
  RecordingIdSchema,
  RecordingSchema,
  type RecordingSummary,
  RecordingSummarySchema,
} from './recording.ts';
export {
  type ActionExplanation,
  ActionExplanationSchema,
  type ActionRecord,
  ActionRecordSchema,
  type ActionState,
  ActionStateSchema,
  type Attempt,
  AttemptSchema,
  type Because,
  BecauseSchema,
  type CommittedCounts,
  CommittedCountsSchema,
  type DeadRecord,
  DeadRecordSchema,
  type DecisionExplanation,
  DecisionExplanationSchema,
  type DeviceRecord,
  DeviceRecordSchema,
  type RuleKeyState,
  RuleKeyStateSchema,
  type RuleState,
  type RuleStateName,
  RuleStateNameSchema,
  RuleStateSchema,
} from './records.ts';
export {
  type ExpectedAction,
  type GivenDecision,
  type RuleTest,
  RuleTestSchema,
  type Zone,
  ZoneSchema,
} from './rule-parts.ts';
export { jsonSchema, SCHEMA_NAMES } from './schemas.ts';
export {
  fieldsOf,
  isRawEncoding,
  isWindowed,
  type ModelNeeds,
  misfitOf,
  needsOf,
  type StreamProblem,
  streamProblems,
} from './streams.ts';
export { createTopics, type Topic, type Topics } from './topics.ts';
export { newSpanId, nextTraceparent, spanOf } from './trace.ts';
