import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import {
  type Change,
  type Group,
  type Load,
  type LoadedRow,
  NEEDED,
  type Numbers,
  type Rejection,
  type SpoolContents,
  UNCUT,
} from './messages.ts';

/** Everything that is done to an open spool. Runs in the spool's thread. */
export function createWriter(db: DatabaseSync) {
  const sql = prepared(db);
  const streams = new Map<string, number>();
  const run = (text: string, ...values: SQLInputValue[]) => sql(text).run(...values);

  function streamOf(device: string, stream: string): number {
    const key = `${device}/${stream}`;
    let id = streams.get(key);
    if (id === undefined) {
      run('INSERT OR IGNORE INTO stream (device, stream) VALUES (?, ?)', device, stream);
      id = Number(sql('SELECT id FROM stream WHERE device = ? AND stream = ?').get(device, stream)?.['id']);
      streams.set(key, id);
    }
    return id;
  }

  function addFrame(stream: number, frame: NonNullable<Change['frame']>): void {
    const { id, boot, seq, receivedMs, type, traceparent = null, payload, at = null, uncut } = frame;
    const row = [id, stream, boot, seq, receivedMs, type, traceparent, payload, at];
    run('INSERT INTO frame VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)', ...row);
    for (const pipeline of frame.pipelines) addUnit(id, pipeline, uncut === true ? UNCUT : 0);
  }

  function addUnit(frame: number, pipeline: string, part: number): void {
    run('INSERT OR IGNORE INTO unit (frame, pipeline, part) VALUES (?, ?, ?)', frame, pipeline, part);
  }

  /** A frame without anything to decide and without samples that are needed goes. */
  function removeUnit(frame: number, pipeline: string, part: number): void {
    run('DELETE FROM unit WHERE frame = ? AND pipeline = ? AND part = ?', frame, pipeline, part);
    run('DELETE FROM frame WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM unit WHERE frame = ?1)', frame);
  }

  function keepChain(stream: number, { boot, pipeline, mark, states }: NonNullable<Change['chain']>): void {
    const text = `INSERT INTO chain VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
      SET mark = coalesce(excluded.mark, mark), states = coalesce(excluded.states, states)`;
    run(text, stream, boot, pipeline, mark ?? null, states ?? null);
  }

  function apply(change: Change): void {
    const stream = streamOf(change.device, change.stream);
    const { frame, forget, ended } = change;
    if (forget !== undefined) run('DELETE FROM boot WHERE stream_id = ? AND boot = ?', stream, forget);
    if (ended !== undefined) run('DELETE FROM chain WHERE stream_id = ? AND boot = ?', stream, ended.boot);
    if (frame !== undefined) addFrame(stream, frame);
    applyToUnits(stream, change);
  }

  function applyToUnits(stream: number, { attempts, settled, cut, released, chain }: Change): void {
    if (attempts !== undefined) tried(attempts);
    if (cut !== undefined) cutUp(cut);
    if (settled !== undefined) removeUnit(settled.frame, settled.pipeline, settled.part ?? 0);
    for (const id of released?.frames ?? []) removeUnit(id, released?.pipeline ?? '', NEEDED);
    if (chain !== undefined) keepChain(stream, chain);
  }

  function tried({ frame, pipeline, part = 0, attempts }: NonNullable<Change['attempts']>): void {
    const text = 'UPDATE unit SET attempts = ? WHERE frame = ? AND pipeline = ? AND part = ?';
    run(text, attempts, frame, pipeline, part);
  }

  function cutUp({ frame, pipeline, parts, again = false }: NonNullable<Change['cut']>): void {
    if (again) run('DELETE FROM unit WHERE frame = ? AND pipeline = ? AND part >= 0', frame, pipeline);
    for (const part of [NEEDED, ...parts]) addUnit(frame, pipeline, part);
    removeUnit(frame, pipeline, UNCUT);
  }

  /** What changes with each frame of a group is written once per group. */
  function sumUp(changes: readonly Change[]): void {
    for (const { device, stream, numbers } of lastNumbers(changes)) {
      if (numbers === undefined) continue;
      const values = [numbers.boot, numbers.through, JSON.stringify(numbers.above), JSON.stringify(numbers.rejected)];
      run('INSERT OR REPLACE INTO boot VALUES (?, ?, ?, ?, ?)', streamOf(device, stream), ...values);
    }
    for (const { device, stream, name, by } of sums(changes)) {
      const text = 'INSERT INTO counter VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value';
      run(text, streamOf(device, stream), name, by);
    }
  }

  return {
    /** One transaction. Throws what SQLite says; then nothing of it is there. */
    commit({ n, changes }: Group): void {
      db.exec('BEGIN IMMEDIATE');
      try {
        run('UPDATE last_group SET n = ?', n);
        for (const change of changes) apply(change);
        sumUp(changes);
        db.exec('COMMIT');
      } catch (error) {
        streams.clear();
        if (db.isTransaction) db.exec('ROLLBACK');
        throw error;
      }
    },

    load: (request: Load): LoadedRow[] => load(sql, request),

    contents: (): SpoolContents => contentsOf(sql),
  };
}

type Sql = (text: string) => StatementSync;

/** Prepared once per text. */
function prepared(db: DatabaseSync): Sql {
  const statements = new Map<string, StatementSync>();
  return (text) => {
    let statement = statements.get(text);
    if (statement === undefined) {
      statement = db.prepare(text);
      statements.set(text, statement);
    }
    return statement;
  };
}

/** The last change of each boot. */
function lastNumbers(changes: readonly Change[]): Iterable<Change> {
  const last = new Map<string, Change>();
  for (const change of changes) {
    const { device, stream, numbers } = change;
    if (numbers !== undefined) last.set(`${device}/${stream}/${numbers.boot}`, change);
  }
  return last.values();
}

function sums(changes: readonly Change[]) {
  const found = new Map<string, { device: string; stream: string; name: string; by: number }>();
  for (const { device, stream, counts = [] } of changes) {
    for (const name of counts) {
      const key = `${device}/${stream} ${name}`;
      const sum = found.get(key) ?? { device, stream, name, by: 0 };
      sum.by += 1;
      found.set(key, sum);
    }
  }
  return found.values();
}

/** At least one row where there is one, however large. */
function load(sql: Sql, { stream, after, rowsMax, bytesMax }: Load): LoadedRow[] {
  const rows: LoadedRow[] = [];
  let bytes = 0;
  const text = `SELECT frame.*, device FROM frame JOIN stream ON stream.id = stream_id
    WHERE stream = ? AND frame.id > ? ORDER BY frame.id LIMIT ?`;
  for (const row of sql(text).iterate(stream, after, rowsMax)) {
    const payload = row['payload'] as Uint8Array;
    bytes += payload.byteLength;
    if (bytes > bytesMax && rows.length > 0) break;
    rows.push({
      id: Number(row['id']),
      device: String(row['device']),
      boot: String(row['boot']),
      seq: Number(row['seq']),
      receivedMs: Number(row['received_ms']),
      type: String(row['type']),
      traceparent: row['traceparent'] === null ? undefined : String(row['traceparent']),
      at: row['at'] === null ? undefined : Number(row['at']),
      payload,
    });
  }
  return rows;
}

function contentsOf(sql: Sql): SpoolContents {
  const units = new Map<number, [string, number, number][]>();
  for (const row of sql('SELECT * FROM unit ORDER BY frame').iterate()) {
    const id = Number(row['frame']);
    const list = units.get(id) ?? [];
    list.push([String(row['pipeline']), Number(row['attempts']), Number(row['part'])]);
    units.set(id, list);
  }
  const where = (row: Record<string, unknown>) => ({ device: String(row['device']), stream: String(row['stream']) });
  const frames = `SELECT frame.id, device, stream, boot, seq, received_ms, length(payload) AS bytes
    FROM frame JOIN stream ON stream.id = stream_id ORDER BY frame.id`;
  const rows = sql(frames)
    .all()
    .map((row) => {
      const id = Number(row['id']);
      const [seq, bytes] = [Number(row['seq']), Number(row['bytes'])];
      const [boot, receivedMs] = [String(row['boot']), Number(row['received_ms'])];
      return { id, ...where(row), boot, seq, bytes, receivedMs, units: units.get(id) ?? [] };
    });
  const boots = sql('SELECT * FROM boot JOIN stream ON stream.id = stream_id ORDER BY boot.rowid')
    .all()
    .map((row) => ({
      ...where(row),
      boot: String(row['boot']),
      through: Number(row['through']),
      above: JSON.parse(String(row['above'])) as Numbers['above'],
      rejected: JSON.parse(String(row['rejected'])) as Rejection[],
    }));
  const counters = sql('SELECT * FROM counter JOIN stream ON stream.id = stream_id')
    .all()
    .map((row) => ({ ...where(row), name: String(row['name']), value: Number(row['value']) }));
  const blob = (value: unknown) => (value instanceof Uint8Array ? value : undefined);
  const chains = sql('SELECT * FROM chain JOIN stream ON stream.id = stream_id')
    .all()
    .map((row) => {
      const [mark, states] = [blob(row['mark']), blob(row['states'])];
      const kept = { ...(mark === undefined ? {} : { mark }), ...(states === undefined ? {} : { states }) };
      return { ...where(row), boot: String(row['boot']), pipeline: String(row['pipeline']), ...kept };
    });
  const lastGroup = Number(sql('SELECT n FROM last_group').get()?.['n']);
  return { lastGroup, lastId: rows.at(-1)?.id ?? 0, rows, boots, chains, counters };
}
