import { BrinkError, type DeviceRecord, isName } from '@brink/protocol';
import type { Operation } from './messages.ts';
import { deviceRecord } from './rows.ts';
import type { Row, Store } from './store.ts';

/** How often a device's last_seen is written, ms: it changes with every unit, and nobody reads it that finely. */
const LAST_SEEN_EVERY_MS = 1000;
const CACHED_MAX = 50_000;

type Of<K extends Operation['op']> = Operation & { op: K };

/** The devices' rows. Whoever is heard of has one. */
export function createDevices(store: Store) {
  const written = new Map<string, number>();

  return {
    seen(device: string, nowMs: number): void {
      const lastMs = written.get(device);
      if (lastMs !== undefined && Math.abs(nowMs - lastMs) < LAST_SEEN_EVERY_MS) return;
      store
        .sql(
          `INSERT INTO device (name, first_ms, last_ms) VALUES (?1, ?2, ?2)
           ON CONFLICT DO UPDATE SET first_ms = coalesce(first_ms, ?2), last_ms = ?2`,
        )
        .run(device, nowMs);
      if (written.size >= CACHED_MAX) written.clear();
      written.set(device, nowMs);
    },

    status({ device, state, retained }: Of<'deviceStatus'>, nowMs: number): void {
      if (state === 'unknown') {
        store.sql("UPDATE device SET state = 'unknown' WHERE name = ?").run(device);
        return;
      }
      store
        .sql(
          `INSERT INTO device (name, state, first_ms, last_ms) VALUES (?1, ?2, ?3, ?3)
           ON CONFLICT DO UPDATE SET state = ?2, first_ms = coalesce(first_ms, ?3), last_ms = coalesce(?3, last_ms)`,
        )
        .run(device, state, retained ? null : nowMs);
    },

    /** @throws BrinkError E_NAME */
    put({ name, patch }: Of<'putDevice'>): DeviceRecord {
      if (!isName(name)) {
        throw new BrinkError('E_NAME', `device "${name.slice(0, 80)}"; expected [a-z0-9][a-z0-9-]{0,63}`);
      }
      const before = store.sql('SELECT registered, note, credentials_at FROM device WHERE name = ?').get(name) as
        | Row
        | undefined;
      const { registered = before?.registered === 1, note, credentials_at } = patch;
      const kept = (given: string | null | undefined, was: unknown) =>
        given === undefined ? ((was ?? null) as string | null) : given;
      store
        .sql(
          `INSERT INTO device (name, registered, note, credentials_at) VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT DO UPDATE SET registered = ?2, note = ?3, credentials_at = ?4`,
        )
        .run(name, Number(registered), kept(note, before?.note), kept(credentials_at, before?.credentials_at));
      return deviceRecord(store.sql('SELECT * FROM device WHERE name = ?').get(name) as Row);
    },

    delete({ name }: Of<'deleteDevice'>): boolean {
      written.delete(name);
      return Number(store.sql('DELETE FROM device WHERE name = ?').run(name).changes) > 0;
    },

    forget: () => written.clear(),
  };
}
export type Devices = ReturnType<typeof createDevices>;
