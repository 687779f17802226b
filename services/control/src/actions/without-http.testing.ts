import { systemClock } from '@brink/runtime';
import { createHttpOut } from './http-out.ts';
import { createSecrets } from './secrets.ts';

/** What a dispatcher needs besides MQTT, where nothing goes over HTTP. */
export const withoutHttp = {
  http: createHttpOut({}, { clock: systemClock }),
  secrets: createSecrets({ dir: '/nonexistent' }),
  targets: () => ({}),
};
