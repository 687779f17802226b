import type { LinkOptions } from '@brink/runtime/child';

/** The largest model, and the largest batch. What comes from the parent is trusted; the limit catches mistakes. */
const FRAME_BYTES_MAX = 2 ** 30;
/** Longer than any run may take. */
const NEVER_MS = 2 ** 31 - 1;

/** Both ends. No time limits of the link's own: `run_ms_max` is the limit, and a long run reads nothing meanwhile. */
export const RUNNER_LINK: LinkOptions = {
  service: 'runner',
  instance: 'runner',
  window: 8,
  frameBytesMax: FRAME_BYTES_MAX,
  helloTimeoutMs: 20_000,
  requestTimeoutMs: 0,
  stallMs: NEVER_MS,
};
