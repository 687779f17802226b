import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { oip } from '@brink/protocol';
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

type Message = (typeof oip.file_inference_open_inference.messages)[number];

/** Field numbers and types as our definition has them. @returns full name → field → [number, FieldDescriptorProto.Type] */
function ourMessages() {
  const found: Record<string, Record<string, [number, number | null]>> = {};
  const add = (message: Message): void => {
    found[message.typeName] = Object.fromEntries(
      message.fields.map((field) => [field.name, [field.number, field.fieldKind === 'scalar' ? field.scalar : null]]),
    );
    for (const nested of message.nestedMessages) add(nested);
  };
  for (const message of oip.file_inference_open_inference.messages) add(message);
  const calls = oip.GRPCInferenceService.methods.map((call) => [
    call.name,
    [call.input.typeName, call.output.typeName],
  ]);
  return { messages: found, calls: Object.fromEntries(calls) };
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
    const ours = join(folder.path, 'messages.json');
    await writeFile(ours, JSON.stringify(ourMessages()));
    const args = [SCRIPT, `${http.host}:${http.port}`, `${grpc.host}:${grpc.port}`, ours];
    const said = await run(python!, args, { timeout: 50_000 }).catch(
      (reason: { stdout: string; stderr: string }) => reason,
    );
    expect(`${said.stdout}${said.stderr}`).toMatch(/^all well$/m);
  },
);
