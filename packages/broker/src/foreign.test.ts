import { silentLogger } from '@brink/runtime';
import { expect, test } from 'vitest';
import { createForeign } from './foreign.ts';

test('a topic that was meant for the gateway and that nobody hears is told; what is heard, or is another matter, is not', () => {
  const foreign = createForeign({ root: 'brink' }, { logger: silentLogger });
  for (const topic of [
    'brink/cam-9/up/frame/front',
    'brink/cam-9/up/frames',
    'brinks/cam-9/up/frames/front',
    'Brink/cam-9/frames/front',
    '/brink/cam-9/up/frames/front',
    'brnk/cam-9/up/frames/front',
  ]) {
    expect(foreign.misspelt(topic), topic).toContain('; frames go to brink/<device>/up/frames/<stream>');
  }
  for (const topic of [
    'brink/cam-9/up/frames/front',
    'brink/cam-9/up/frames/front/k3v9.1',
    'brink/cam-9/up/retired/front',
    'brink/cam-9/up/acks',
    'brink/cam-9/up/status',
    'zigbee2mqtt/lamp/set',
  ]) {
    expect(foreign.misspelt(topic), topic).toBeUndefined();
  }
});
