import { describe, expect, it } from 'vitest';
import { writePassport } from './harness/neighbours.ts';
import { png } from './harness/pictures.ts';
import { SITE, startSite, tensor, until } from './harness/site.ts';

const OBJECTS = [
  { label: 'padding', score: 0.9, box: [0, 0, 0.3, 1] },
  { label: 'person', label_text: '人', score: 0.8, box: [0.25, 0, 1, 0.5] },
  { label: 'dog', score: 0.7, box: [0.375, 0.5, 0.625, 1] },
];
const RESULT = { task: 'detection', label: 'padding', score: 0.9, objects: OBJECTS };

/** One model under the name that the site's pipelines ask for. */
async function startWith(model: { fit: string; task: string }) {
  const site = await startSite({
    configuration: {
      ...SITE,
      streams: {
        front: { devices: 'cam-*', format: 'image', frame_age_ms_max: 5000, pipelines: { pets: { model: 'boxes' } } },
        raw: { format: 'tensor', frame_age_ms_max: 5000, pipelines: { bits: { model: 'boxes' } } },
      },
    },
  });
  await site.inference.announce([await writePassport(site.modelsDir, { name: 'boxes', ...model })]);
  site.inference.says(RESULT);
  await site.ready();
  return site;
}

describe('boxes', () => {
  it('of a letterboxed picture come out in the upright original; what lies in the padding goes, and label and score with it', async () => {
    await using site = await startWith({ fit: 'letterbox', task: 'detection' });
    // 8 × 32 into 4 × 4: one column wide (of four), one column of padding on the left and two on the right.
    await site.frame('cam-1', 'front', png(8, 32), 'k3v9-1');
    await until(() => site.control.outcomes.length === 1);
    const { result, evidence } = site.control.outcomes[0]!;
    expect(evidence.transform).toMatchObject({ fit: 'letterbox', scale: [0.125, 0.125], offset: [1, 0] });
    expect(result).toEqual({
      task: 'detection',
      label: 'padding',
      score: 0.9,
      objects: [
        { label: 'padding', score: 0.9, box: [0, 0, 0.2, 1] },
        { label: 'person', label_text: '人', score: 0.8, box: [0, 0, 1, 0.5] },
        { label: 'dog', score: 0.7, box: [0.5, 0.5, 1, 1] },
      ],
    });
    site.inference.says({ ...RESULT, objects: [{ ...OBJECTS[0], box: [0, 0, 0.25, 1] }, OBJECTS[1]] });
    await site.frame('cam-1', 'front', png(8, 32), 'k3v9-2');
    await until(() => site.control.outcomes.length === 2);
    expect(site.control.outcomes[1]!.result).toEqual({
      task: 'detection',
      label: 'person',
      label_text: '人',
      score: 0.8,
      objects: [{ label: 'person', label_text: '人', score: 0.8, box: [0, 0, 1, 0.5] }],
    });
  });

  it('of a cropped picture lie where the crop lay', async () => {
    await using site = await startWith({ fit: 'crop', task: 'detection' });
    await site.frame('cam-1', 'front', png(16, 8), 'k3v9-1');
    await until(() => site.control.outcomes.length === 1);
    const boxes = site.control.outcomes[0]!.result?.objects?.map(({ box }) => box);
    expect(boxes?.[1]).toEqual([0.375, 0, 0.75, 0.5]);
  });

  it('of a tensor stay as they are: its frame is the picture of the model', async () => {
    await using site = await startWith({ fit: 'letterbox', task: 'detection' });
    await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
    await until(() => site.control.outcomes.length === 1);
    expect(site.control.outcomes[0]!.result).toEqual(RESULT);
  });

  it('are looked at for detection alone: other results go on as they came', async () => {
    await using site = await startWith({ fit: 'letterbox', task: 'classification' });
    await site.frame('cam-1', 'front', png(8, 32), 'k3v9-1');
    await until(() => site.control.outcomes.length === 1);
    expect(site.control.outcomes[0]!.result).toEqual(RESULT);
  });
});
