import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { startInference, temporaryFolder } from './harness/inference.ts';
import { writeOipModels } from './harness/oip-models.ts';

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL('./triton_client_check.py', import.meta.url));

/** A Python that has tritonclient: the one that is named, else the one on the PATH. @returns undefined, or why there is none */
async function findPython(): Promise<{ python?: string; missing: string }> {
  const named = process.env['BRINK_TEST_PYTHON'];
  const python = named === undefined || named === '' ? 'python3' : named;
  try {
    await run(python, ['-c', 'import tritonclient.http, tritonclient.grpc, numpy'], { timeout: 30_000 });
    return { python, missing: '' };
  } catch {
    return { missing: `${python} cannot import tritonclient (pip install 'tritonclient[http,grpc]' numpy)` };
  }
}

const { python, missing } = await findPython();

it.skipIf(python === undefined)(
  `tritonclient from PyPI runs unmodified against both faces${missing === '' ? '' : ` (skipped: ${missing})`}`,
  async () => {
    await using folder = await temporaryFolder();
    await writeOipModels(folder.path);
    await using inference = await startInference(folder.path);
    await inference.until((all) => all.length > 0 && all.every(({ state }) => state === 'ready'));
    const { http, grpc } = inference.service.addresses;
    const args = [SCRIPT, `${http.host}:${http.port}`, `${grpc.host}:${grpc.port}`];
    const said = await run(python!, args, { timeout: 50_000 }).catch(
      (reason: { stdout: string; stderr: string }) => reason,
    );
    expect(`${said.stdout}${said.stderr}`).toMatch(/^all well$/m);
  },
);
