import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Decision, DecisionExplanation } from '@brink/protocol';
import { expect, it } from 'vitest';
import { repository, startFleet } from '../harness/fleet.ts';

// W3C trace context from the outside to the evidence: https://www.w3.org/TR/trace-context. Over MQTT 5 in containers/mosquitto.test.ts.

const cat = readFileSync(join(repository, 'packages/device/pictures/chelsea.jpg'));
const TRACE = '0af7651916cd43dd8448eb211c80319c';
const CALLER = 'b7ad6b7169203331';

it('a traced frame that is posted keeps its trace and its sampled flag, with a span of each hop', async () => {
  await using fleet = await startFleet();

  const evidenceOf = async (traceparent: string) => {
    const posted = await fleet.api.request('/v1/frames/cam-1/front?wait_ms=10000', {
      method: 'POST',
      body: cat,
      headers: { 'content-type': 'image/jpeg', ...(traceparent === '' ? {} : { traceparent }) },
    });
    expect(posted.status, posted.text).toBe(200);
    const { id } = (posted.json as { items: Decision[] }).items[0] as Decision;
    return (await fleet.api.get<DecisionExplanation>(`/v1/decisions/${id}/explain`)).evidence;
  };

  const traced = await evidenceOf(`00-${TRACE}-${CALLER}-01`);
  expect(traced.traceparent).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
  const spans = [CALLER, traced.traceparent?.slice(36, 52), traced.spans?.infer];
  expect(new Set(spans).size).toBe(3);
  expect(spans.every((span) => span?.length === 16)).toBe(true);

  expect((await evidenceOf(`00-${TRACE}-${CALLER}-00`)).traceparent).toMatch(/-00$/);
  for (const none of ['', `00-${'0'.repeat(32)}-${CALLER}-01`, 'nonsense']) {
    const evidence = await evidenceOf(none);
    expect(evidence.traceparent).toBeUndefined();
    expect(evidence.spans).toBeUndefined();
  }
});
