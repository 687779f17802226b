import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { noEngine, titled } from '../harness/engine.ts';
import { repository } from '../harness/fleet.ts';

// A model on `webgpu`: on a machine without a graphics card, on the processor that Mesa's lavapipe makes of the CPU. The runner of
// the inference service itself, with and without Vulkan in the container.

const BASE = 'node:24-trixie-slim';
const VULKAN = 'brink-vulkan:test';
const BUILD_MS_MAX = 60_000;
const RUN_MS_MAX = 40_000;

/** Debian's packages, once; then Docker has the layer. @returns why it cannot be built */
function buildVulkan(): string | undefined {
  const dockerfile = [
    `FROM ${BASE}`,
    'RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1',
  ].join('\n');
  const built = spawnSync('docker', ['build', '--quiet', '--network', 'host', '--tag', VULKAN, '-'], {
    input: dockerfile,
    encoding: 'utf8',
    timeout: BUILD_MS_MAX,
  });
  return built.status === 0 ? undefined : "Debian's mesa-vulkan-drivers cannot be installed in a container";
}

const reason = noEngine(BASE) ?? buildVulkan();

/** The harness of the inference service in a container that reaches nothing. */
function check(image: string, ...args: string[]): unknown {
  const script = '/app/services/inference/test/harness/provider-check.ts';
  const { stdout, stderr } = spawnSync(
    'docker',
    ['run', '--rm', '--network', 'none', '--volume', `${repository}:/app:ro`, image, 'node', script, ...args],
    { encoding: 'utf8', timeout: RUN_MS_MAX },
  );
  const line = stdout.trim().split('\n').at(-1) ?? '';
  if (!line.startsWith('{')) throw new Error(`no answer from the container: ${stdout}${stderr}`);
  return JSON.parse(line);
}

describe.skipIf(reason !== undefined)(titled('webgpu', reason), () => {
  it('computes what the CPU computes, to 1e-4', () => {
    const answer = check(VULKAN, '--strict', 'webgpu') as { difference: number; largest: number; values: number };
    expect(answer).toMatchObject({ provider: 'webgpu', fallback: '', values: 30 });
    expect(answer.difference).toBeLessThan(1e-4);
    // Two processors that both computed nothing would agree too; two that round alike would agree fully.
    expect(answer.largest).toBeGreaterThan(0.01);
    expect(answer.difference).toBeGreaterThan(0);
  });

  it('says where only a part of a graph runs on it, and strict refuses that', () => {
    expect(check(VULKAN, '--double', 'webgpu', 'cpu')).toMatchObject({
      provider: 'webgpu',
      fallback: expect.stringMatching(/^a part runs on the CPU: webgpu: /),
      difference: 0,
    });
    expect(check(VULKAN, '--double', '--strict', 'webgpu', 'cpu')).toMatchObject({ code: 'E_MODEL_PROVIDER' });
  });

  it('without Vulkan falls back to the CPU and says why', () => {
    expect(check(BASE, 'webgpu', 'cpu')).toMatchObject({
      provider: 'cpu',
      fallback: expect.stringMatching(/^webgpu: .*adapter/),
      difference: 0,
    });
  });

  it('without Vulkan and strict is E_MODEL_PROVIDER, with the reason and what there is', () => {
    expect(check(BASE, '--strict', 'webgpu', 'cpu')).toMatchObject({
      code: 'E_MODEL_PROVIDER',
      detail: expect.stringMatching(/^"webgpu" is asked for.*adapter.*lists cpu, webgpu/),
    });
  });
});
