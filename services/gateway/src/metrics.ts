import type { ErrorCode } from '@brink/protocol';
import { type Clock, Counter, createPlainHistogram, Gauge, Histogram, type Registry, readGauge } from '@brink/runtime';
import type { Lane } from './ingest/lanes.ts';
import type { Counts, UnfinishedReason, UnitDropReason } from './outcomes/counts.ts';
import { createStages } from './outcomes/stages.ts';

/** What is only looked at when somebody asks. */
export interface Observed {
  counts: Counts;
  clock: Clock;
  admission: { readonly waiting: number; waitingLanes(): Iterable<Lane> };
  dispatch: { readonly preparing: number; readonly ready: number; readonly deciding: number };
  outbox: {
    readonly rows: number;
    readonly bytes: number;
    readonly letters: number;
    readonly oldest: number | undefined;
  };
  backlog: { streams(): Iterable<{ stream: string; rows: number; bytes: number }> };
  windows: { readonly bytes: number };
  intake: { readonly held: number };
  discovered: { readonly size: number; readonly evicted: number };
  foreign: { readonly ignored: number };
}

// From one millisecond, a bare tensor on an idle box, to the age at which a frame is of no use.
const LATENCY_BUCKETS = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1, 2, 4];

const FOREIGN_IGNORED = "Messages of other systems that were heard and are of no stream's topics";

/** Every metric of the gateway. What is counted per frame is a plain integer, read here at collection. */
export function createMetrics(registry: Registry, observed: Observed) {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) => readGauge(registry, name, help, read);

  const { counts, admission, dispatch, outbox, discovered, intake } = observed;
  countedFrames(registers, counts);
  countedUnits(registers, counts);
  countedDrops(registers, counts);
  waitingPieces(registers, observed);
  gauge('brink_gateway_frames_waiting', 'Places in which a frame waits for a model', () => admission.waiting);
  gauge('brink_gateway_units_preparing', 'Units that are being decoded and resized', () => dispatch.preparing);
  gauge('brink_gateway_units_ready', 'Units that are prepared and not yet sent to inference', () => dispatch.ready);
  gauge('brink_gateway_units_deciding', 'Units that inference has', () => dispatch.deciding);
  gauge('brink_gateway_outcomes_waiting', 'Outcomes that control has not committed', () => outbox.rows);
  gauge('brink_gateway_outcomes_waiting_bytes', 'Bytes of the same', () => outbox.bytes);
  gauge('brink_gateway_dead_letters_waiting', 'Dead letters that control has not taken', () => outbox.letters);
  gauge('brink_gateway_outcomes_oldest_seconds', 'Age of the oldest outcome that control does not have', () =>
    outbox.oldest === undefined ? 0 : (observed.clock.monotonic() - outbox.oldest) / 1000,
  );
  spooledFrames(registers, observed.backlog);
  gauge('brink_gateway_spool_held', 'Frames that wait un-acked for room in the spool', () => intake.held);
  gauge('brink_gateway_window_bytes', 'Bytes of samples that wait for whole windows', () => observed.windows.bytes);
  gauge('brink_gateway_discovered', 'Frame topics that no stream takes', () => discovered.size);
  gauge('brink_gateway_discovered_evicted', 'Frame topics that were forgotten for others', () => discovered.evicted);
  gauge('brink_gateway_foreign_ignored', FOREIGN_IGNORED, () => observed.foreign.ignored);
  const decides = new Counter({ name: 'brink_gateway_decides_total', help: 'Requests to inference', registers });
  const decidedUnits = new Counter({ name: 'brink_gateway_decide_units_total', help: 'Units in them', registers });

  return {
    rejected: new Counter<'code'>({
      name: 'brink_gateway_frames_rejected_total',
      help: 'Frames refused by name',
      labelNames: ['code'],
      registers,
    }) as { inc(labels: { code: ErrorCode }): void },
    unitsDropped: new Counter<'reason'>({
      name: 'brink_gateway_units_dropped_total',
      help: 'Units that were formed and given up',
      labelNames: ['reason'],
      registers,
    }) as { inc(labels: { reason: UnitDropReason }): void },
    attempts: new Counter<'stage'>({
      name: 'brink_gateway_attempts_total',
      help: 'Units whose child process crashed or hung while it had them',
      labelNames: ['stage'],
      registers,
    }),
    lettersDropped: new Counter<'reason'>({
      name: 'brink_gateway_dead_letters_dropped_total',
      help: 'Dead letters that were counted but not sent: rate per device, or no room',
      labelNames: ['reason'],
      registers,
    }),
    /** A Decide with so many units. */
    sent(units: number): void {
      decides.inc();
      decidedUnits.inc(units);
    },
    unseen: new Counter({
      name: 'brink_gateway_frames_unseen_total',
      help: 'Frames of sound or signals that a pipeline did not look at, because nobody knew yet what its model takes',
      registers,
    }),
    receipts: new Counter({ name: 'brink_gateway_receipts_total', help: 'Receipts sent to devices', registers }),
    ...ofSpool(registers),
    latency: createPlainHistogram(registry, {
      name: 'brink_gateway_unit_seconds',
      help: 'From the arrival of a frame to the outcome of its unit',
      buckets: LATENCY_BUCKETS,
      labelNames: [],
    }).of({}),
    stages: createStages(registry),
  };
}

export type GatewayMetrics = ReturnType<typeof createMetrics>;

function ofSpool(registers: Registry[]) {
  const commits = new Histogram({
    name: 'brink_gateway_spool_commit_seconds',
    help: 'From handing a group to the spool to its COMMIT',
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const changes = new Counter({
    name: 'brink_gateway_spool_changes_total',
    help: 'Changes in these groups',
    registers,
  });
  return {
    /** A group. */
    committed(count: number, ms: number): void {
      changes.inc(count);
      commits.observe(ms / 1000);
    },
    unfinished: new Counter<'reason'>({
      name: 'brink_gateway_frames_unfinished_total',
      help: 'Frames of durable streams that were given up while their samples waited for a whole window',
      labelNames: ['reason'],
      registers,
    }) as { inc(labels: { reason: UnfinishedReason }, by: number): void },
    spoolRestarts: new Counter({
      name: 'brink_gateway_spool_restarts_total',
      help: 'Threads of the spool that ended by themselves and were replaced',
      registers,
    }),
  };
}

function spooledFrames(registers: Registry[], backlog: Observed['backlog']): void {
  for (const what of ['rows', 'bytes'] as const) {
    new Gauge<'stream'>({
      name: `brink_gateway_spool_${what}`,
      help: what === 'rows' ? 'Frames of durable streams that are not decided and committed' : 'Bytes of the same',
      labelNames: ['stream'],
      registers,
      collect() {
        this.reset();
        for (const of of backlog.streams()) this.set({ stream: of.stream }, of[what]);
      },
    });
  }
}

/** received = accepted + duplicate + rejected + dropped, summed over devices; stream "" is what no stream takes. */
function countedFrames(registers: Registry[], counts: Counts): void {
  countedGaps(registers, counts);
  new Counter<'stream' | 'fate'>({
    name: 'brink_gateway_frames_total',
    help: 'Messages on frame topics: received = accepted + duplicate + rejected + dropped',
    labelNames: ['stream', 'fate'],
    registers,
    collect() {
      this.reset();
      for (const { stream, row } of [...counts.streams(), { stream: '', row: counts.elsewhere }]) {
        for (const fate of ['received', 'accepted', 'duplicate', 'rejected', 'dropped'] as const) {
          this.inc({ stream, fate }, row[fate]);
        }
      }
    },
  });
}

/** formed = decided + expired + dead + dropped + pending */
function countedUnits(registers: Registry[], counts: Counts): void {
  new Counter<'pipeline' | 'fate'>({
    name: 'brink_gateway_units_total',
    help: 'Units: formed = decided + expired + dead + dropped + pending',
    labelNames: ['pipeline', 'fate'],
    registers,
    collect() {
      this.reset();
      for (const [pipeline, row] of counts.pipelines()) {
        for (const fate of ['formed', 'decided', 'expired', 'dead', 'dropped'] as const)
          this.inc({ pipeline, fate }, row[fate]);
      }
    },
  });
  new Gauge<'pipeline'>({
    name: 'brink_gateway_units_pending',
    help: 'Units that were formed and whose end is not committed',
    labelNames: ['pipeline'],
    registers,
    collect() {
      this.reset();
      for (const [pipeline, row] of counts.pipelines()) this.set({ pipeline }, row.pending);
    },
  });
}

/** By stream, which are few; by device they stand in /v1/status. */
function countedDrops(registers: Registry[], counts: Counts): void {
  new Counter<'stream' | 'reason'>({
    name: 'brink_gateway_drops_total',
    help: 'Frames, and units of frames that were taken, that were given up, by why',
    labelNames: ['stream', 'reason'],
    registers,
    collect() {
      this.reset();
      for (const { stream, row } of counts.streams()) {
        for (const [reason, count] of Object.entries(row.drops ?? {})) this.inc({ stream, reason }, count);
      }
    },
  });
}

function waitingPieces(registers: Registry[], { admission, clock }: Pick<Observed, 'admission' | 'clock'>): void {
  const streamsOf = (read: (sum: number | undefined, lane: Lane) => number) => {
    const found = new Map<string, number>();
    for (const lane of admission.waitingLanes()) {
      const stream = lane.waiting[0]?.frame.id.stream;
      if (stream !== undefined) found.set(stream, read(found.get(stream), lane));
    }
    return found;
  };
  new Gauge<'stream'>({
    name: 'brink_gateway_stream_waiting',
    help: 'Units, and frames that will be, that wait for a model',
    labelNames: ['stream'],
    registers,
    collect() {
      this.reset();
      for (const [stream, count] of streamsOf((sum = 0, lane) => sum + lane.waiting.length))
        this.set({ stream }, count);
    },
  });
  new Gauge<'stream'>({
    name: 'brink_gateway_stream_oldest_seconds',
    help: 'Age of the oldest of them',
    labelNames: ['stream'],
    registers,
    collect() {
      this.reset();
      const now = clock.monotonic();
      const ageOf = (lane: Lane) => (now - (lane.waiting[0]?.frame.receivedAt ?? now)) / 1000;
      for (const [stream, age] of streamsOf((most = 0, lane) => Math.max(most, ageOf(lane)))) this.set({ stream }, age);
    },
  });
}

/** Of masks, of the ring and of recordings. */
export function createKeepMetrics(
  registry: Registry,
  observed: {
    ring: { readonly frames: number; readonly bytes: number };
    recorder: { readonly active: number; readonly shelf: { readonly bytes: number; readonly count: number } };
  },
) {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) => readGauge(registry, name, help, read);
  const counter = <L extends string>(name: string, help: string, label: L) =>
    new Counter<L>({ name, help, labelNames: [label], registers });
  const { ring, recorder } = observed;
  gauge('brink_gateway_kept_frames', 'Frames of the last seconds, in memory for recordings', () => ring.frames);
  gauge('brink_gateway_kept_bytes', 'Bytes of the same', () => ring.bytes);
  gauge('brink_gateway_recordings_active', 'Recordings that are being made', () => recorder.active);
  gauge('brink_gateway_recordings', 'Recordings in the folder', () => recorder.shelf.count);
  gauge('brink_gateway_recordings_bytes', 'Bytes of the same', () => recorder.shelf.bytes);
  const faces = new Counter({ name: 'brink_gateway_faces_masked_total', help: 'Faces that were masked', registers });
  const seconds = new Histogram({
    name: 'brink_gateway_faces_seconds',
    help: 'From asking for the faces of a frame to knowing them',
    buckets: LATENCY_BUCKETS,
    registers,
  });
  return {
    searched(count: number, ms: number): void {
      faces.inc(count);
      seconds.observe(ms / 1000);
    },
    maskFailures: counter(
      'brink_gateway_mask_failures_total',
      'Frames that could not be masked and went nowhere',
      'code',
    ),
    evicted: counter('brink_gateway_kept_evicted_total', 'Frames that are kept no longer: age, or no room', 'reason'),
    skipped: counter('brink_gateway_kept_skipped_total', 'Frames that were not kept: busy, failed, limit', 'reason'),
    recordings: counter('brink_gateway_recordings_ended_total', 'Recordings that were made', 'state'),
    removed: counter(
      'brink_gateway_recordings_removed_total',
      'Recordings that were removed: age, bytes, forgotten',
      'reason',
    ),
  };
}

function countedGaps(registers: Registry[], counts: Counts): void {
  new Counter<'stream'>({
    name: 'brink_gateway_frame_gaps_total',
    help: 'Times that a device left numbers of frames out',
    labelNames: ['stream'],
    registers,
    collect() {
      this.reset();
      for (const [stream, gaps] of counts.gaps()) this.inc({ stream }, gaps);
    },
  });
}
