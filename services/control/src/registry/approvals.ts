import type { Ledger } from '../ledger/ledger.ts';

/** Beyond it nobody more is approved: the gateways hold the list, and it travels with the configuration. */
export const APPROVED_MAX = 50_000;

/**
 * The devices that somebody added or approved, at hand: with `site.join: approve` the gateways take frames of these alone, and get the list
 * with the configuration.
 */
export function createApprovals(d: { readonly ledger: Pick<Ledger, 'read'>; readonly onChange: () => unknown }) {
  let names = new Set<string>();
  return {
    has: (device: string) => names.has(device),
    get size() {
      return names.size;
    },
    list: (): string[] => [...names].sort(),
    /** What the ledger has committed. */
    set(device: string, approved: boolean): void {
      if (names.has(device) === approved) return;
      if (approved) names.add(device);
      else names.delete(device);
      d.onChange();
    },
    async start(): Promise<void> {
      const devices = await d.ledger.read.devices();
      names = new Set(devices.filter(({ registered }) => registered).map(({ name }) => name));
    },
    stop: () => Promise.resolve(),
  };
}

export type Approvals = ReturnType<typeof createApprovals>;
