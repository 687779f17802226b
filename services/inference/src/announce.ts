import { BrinkError, type link } from '@brink/protocol';
import type { LinkPeer, Logger } from '@brink/runtime';
import type { Repository } from './models/repository.ts';
import { reasonOf } from './models/status.ts';

export interface Announcer {
  /** A gateway dialled in: it is told at once. */
  onPeer(peer: LinkPeer): void;
  /** Something changed: every gateway is told the whole list. */
  changed(): void;
}

/** Tells gateways which versions there are. Changes that come while one is being told are put into one more message. */
export function createAnnouncer(
  o: { instance: string },
  d: { repository: Pick<Repository, 'versions' | 'serving'>; peers: () => Iterable<LinkPeer>; logger: Logger },
): Announcer {
  const busy = new Map<LinkPeer, { again: boolean }>();

  function models(): Omit<link.ModelState, '$typeName'>[] {
    return d.repository.versions.map((version) => ({
      name: version.name,
      version: version.version,
      state: version.status.state,
      passportSha256: version.status.passportSha256,
      batchBest: version.status.batchBest,
      copies: version.status.copies,
      serving: d.repository.serving(version.name) === version,
      reason: reasonOf(version.status),
    }));
  }

  async function tell(peer: LinkPeer): Promise<void> {
    const told = busy.get(peer);
    if (told !== undefined) {
      told.again = true;
      return;
    }
    const state = { again: true };
    busy.set(peer, state);
    try {
      while (state.again) {
        state.again = false;
        await peer.request({ case: 'announce', value: { instance: o.instance, models: models() } });
      }
    } catch (reason) {
      const { code, detail } = BrinkError.from(reason);
      if (code !== 'E_LINK_CLOSED') d.logger.warn({ peer: peer.info.instance, code, detail }, 'announcing failed');
    } finally {
      busy.delete(peer);
    }
  }

  return {
    onPeer: (peer) => void tell(peer),
    changed() {
      for (const peer of d.peers()) void tell(peer);
    },
  };
}
