import type { PictureTransform } from '@brink/decode';
import { type BrinkError, EVIDENCE_BYTES_MAX, type Evidence, formatUnitId, type link } from '@brink/protocol';
import { type Frame, sha256Of, unitKey } from '../ingest/frame.ts';
import type { Lane, Piece } from '../ingest/lanes.ts';
import type { PipelinePlan } from '../ingest/plan.ts';
import type { PictureMask } from '../mask/masking.ts';
import type { ServingModel } from '../models/models.ts';
import type { FormedUnit } from '../window/formed.ts';
import type { Memory } from '../window/memory.ts';

/** What gets decided: one picture, tensor or window, for one pipeline. */
export interface Unit {
  readonly id: string;
  readonly frame: Frame;
  readonly pipeline: PipelinePlan;
  readonly lane: Lane;
  readonly part: number;
  /** Of audio and signals. */
  readonly formed: FormedUnit | undefined;
  /** The next unit of its lane waits for the state that it leaves. */
  readonly holds: boolean;
  /** When it left its waiting place, on the monotonic clock. */
  readonly takenAt: number;
  /** Crashes and hangs while it was in a child. Nothing else counts. */
  attempts: number;
  /** Decides that it was in. After one that failed its bytes may still lie in a socket. */
  sent: number;
  /** The input tensors, and for which model they were made. */
  prepared: PreparedUnit | undefined;
  /** Where it holds its lane, once it has ended: what the spool keeps of it. */
  left: LeftBehind | undefined;
}

interface LeftBehind {
  readonly memory: Memory;
  /** Of the unit, in its order. */
  readonly key: string;
  /** The state after it, packed. */
  readonly states: Uint8Array;
}

export interface PreparedUnit {
  readonly model: ServingModel;
  /** One per head of the model. */
  readonly tensors: readonly Uint8Array[];
  readonly picture?: {
    readonly transform: PictureTransform;
    readonly width: number;
    readonly height: number;
    readonly decodeMs: number;
    /** Part of it. */
    readonly maskMs: number;
    /** Of the memory of its pixels. */
    release(): void;
    readonly masked: PictureMask | undefined;
  };
  /** What it took to make the tensors of samples. */
  readonly windowMs?: number;
}

export function createUnit({ frame, lane, part, formed }: Piece, takenAt: number, holds: boolean): Unit {
  const { pipeline } = lane;
  const id = formatUnitId({ ...frame.id, part, pipeline: pipeline.name });
  // Tries that were committed and have no end: the process that made them is no more.
  const attempts = frame.spooled?.attempts.get(unitKey(pipeline.name, part)) ?? 0;
  return {
    id,
    frame,
    pipeline,
    lane,
    part,
    formed,
    holds,
    takenAt,
    attempts,
    sent: 0,
    prepared: undefined,
    left: undefined,
  };
}

/** What inference says about one unit. */
export interface UnitAnswer {
  readonly said: link.UnitResult;
  /** Its result as JSON, boxes as parts of the upright original frame; empty where it failed. */
  readonly resultJson: string;
  /** What its lane's next unit starts from. */
  readonly states: readonly Uint8Array[];
}

/** How a unit ended. */
export type Ending =
  | { readonly outcome: 'decided'; readonly answer: UnitAnswer }
  | { readonly outcome: 'expired' | 'dead'; readonly error: BrinkError; readonly version: number };

const round = (ms: number) => Math.round(ms * 100) / 100;

/**
 * The unit's outcome as JSON (OutcomeSchema). `result` and `top` come from inference as JSON and go on as they are: what
 * is not looked at need not be taken apart.
 * @param now on the monotonic clock
 */
export function outcomeJson(unit: Unit, ending: Ending, now: number, gateway: string): string {
  const { frame, pipeline, formed } = unit;
  const { device, stream, boot, seq } = frame.id;
  const version = ending.outcome === 'decided' ? (unit.prepared?.model.version ?? 1) : ending.version;
  const totalMs = round(Math.max(0, now - frame.receivedAt));
  const head = JSON.stringify({
    device,
    stream,
    boot,
    seq,
    part: unit.part,
    pipeline: pipeline.name,
    outcome: ending.outcome,
    ...(ending.outcome === 'decided'
      ? {}
      : { error: { code: ending.error.code, detail: ending.error.detail.slice(0, 1000) } }),
    frames: { boot, ...(formed?.frames ?? { first: seq, last: seq, received: 1 }) },
    model: { name: pipeline.model, version },
    received_ms: frame.receivedMs,
    latency_ms: totalMs,
    durable: frame.spooled !== undefined,
  });
  const result = ending.outcome === 'decided' ? `,"result":${ending.answer.resultJson}` : '';
  return `${head.slice(0, -1)}${result},"evidence":${evidenceJson(unit, ending, totalMs, gateway)}}`;
}

function evidenceJson(unit: Unit, ending: Ending, totalMs: number, gateway: string): string {
  const { frame, prepared } = unit;
  const result = ending.outcome === 'decided' ? ending.answer.said : undefined;
  const evidence: Evidence = {
    frame: { sha256: sha256Of(frame), bytes: frame.payload.byteLength, type: frame.type },
    ms: { total: totalMs, queue: round(unit.takenAt - frame.receivedAt + (result?.queueMs ?? 0)) },
    attempts: unit.attempts,
    gateway,
  };
  if (frame.keptSha256 !== undefined) evidence.frame.kept_sha256 = frame.keptSha256;
  if (frame.traceparent !== undefined) evidence.traceparent = frame.traceparent;
  if (result !== undefined && result.span !== '') evidence.spans = { infer: result.span };
  if (prepared !== undefined) describePreparation(evidence, prepared);
  if (result !== undefined) describeRun(evidence, result);
  const json = JSON.stringify(evidence);
  const top = result?.topJson ?? '';
  if (top === '' || json.length + top.length + 10 > EVIDENCE_BYTES_MAX) return json;
  return `${json.slice(0, -1)},"top":${top}}`;
}

const NO_TARGET = { fit: 'stretch', width: 1, height: 1 } as const;

function describePreparation(evidence: Evidence, { model, picture }: PreparedUnit): void {
  evidence.model = { passport_sha256: model.passportSha256 };
  if (picture === undefined) return;
  const { scaleX, scaleY, offsetX, offsetY } = picture.transform;
  const [{ fit, width, height } = NO_TARGET] = model.targets;
  evidence.frame.width = picture.width;
  evidence.frame.height = picture.height;
  evidence.transform = { scale: [scaleX, scaleY], offset: [offsetX, offsetY], fit, width, height };
  const { masked } = picture;
  if (evidence.ms !== undefined) evidence.ms.decode = round(picture.decodeMs);
  if (masked === undefined) return;
  evidence.masked = { regions: masked.shapes.length - masked.faces, faces: masked.faces };
  if (evidence.ms !== undefined) evidence.ms.mask = round(picture.maskMs + masked.facesMs);
}

function describeRun(evidence: Evidence, result: link.UnitResult): void {
  evidence.batch = result.batch;
  if (evidence.ms !== undefined) {
    evidence.ms.infer = round(result.inferMs);
    evidence.ms.decode_output = round(result.decodeOutputMs);
  }
  if (evidence.model === undefined) return;
  if (result.modelSha256 !== '') evidence.model.model_sha256 = result.modelSha256;
  if (result.provider !== '') evidence.model.provider = result.provider;
}
