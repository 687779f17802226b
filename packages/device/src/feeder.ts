import { BrinkError } from '@brink/protocol';
import { type Clock, type Logger, wait } from '@brink/runtime';
import type { Device } from './device.ts';

export interface FeederConfig {
  device: Device;
  /** How long the motor takes to open the flap. */
  motorMs: number;
}

export interface Feeder {
  /** How often it was opened. */
  readonly opened: number;
}

/**
 * A simulated feeder with a flap: knows the command `open`, with `{"portion":1…5}` if wanted. Registers its command at once,
 * so make it before the device is started.
 */
export function createFeeder(config: FeederConfig, d: { clock: Clock; logger: Logger }): Feeder {
  let opened = 0;
  config.device.onCommand('open', async (args, { because, signal }) => {
    const { portion = 1 } = args;
    if (typeof portion !== 'number' || portion < 1 || portion > 5) {
      throw new BrinkError('E_ACTION_REFUSED', `portion ${JSON.stringify(portion)}; expected 1 to 5`);
    }
    await wait(config.motorMs, d.clock, signal);
    opened += 1;
    d.logger.info({ device: config.device.name, portion, because }, 'the flap is open');
  });
  return {
    get opened() {
      return opened;
    },
  };
}
