import { parseArgs } from 'node:util';
import { BrinkError } from '@brink/protocol';
import { checkRules } from '@brink/rules';
import { readConfigFolder, readModels } from './configuration/folder.ts';
import { formatProblem, problemsIn } from './configuration/problems.ts';
import { validateConfiguration } from './configuration/validate.ts';

// node services/control/src/check.ts [folder] [--models folder] [--json]
// Says what is wrong with a configuration, without control running. Exit 0: it is valid, 1: it is not, 2: called wrongly.

const { values, positionals } = (() => {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { json: { type: 'boolean', default: false }, models: { type: 'string' } },
    });
  } catch (error) {
    console.error(BrinkError.from(error).detail);
    process.exit(2);
  }
})();
const folder = positionals[0] ?? process.env['BRINK_CONFIG_DIR'] ?? './config';
const modelsDir = values.models ?? process.env['BRINK_MODELS_DIR'] ?? './models';

try {
  const validation = validateConfiguration(await readConfigFolder(folder), await readModels(modelsDir), checkRules);
  if (validation.ok) report({ valid: true, revision: validation.published.revision, problems: [] });
  else report({ valid: false, problems: validation.problems });
} catch (reason) {
  const error = BrinkError.from(reason);
  if (error.code !== 'E_CONFIG') throw reason;
  report({ valid: false, problems: problemsIn(error) });
}

function report(verdict: { valid: boolean; revision?: string; problems: ReturnType<typeof problemsIn> }): void {
  const problems = verdict.problems.map((problem) => ({ ...problem, text: formatProblem(problem) }));
  if (values.json) console.log(JSON.stringify({ ...verdict, problems }));
  else if (verdict.valid) console.log(`${folder} is valid, revision ${verdict.revision}`);
  else {
    for (const { text } of problems) console.log(text);
    const absent = problems.some((problem) => problem.absent === true);
    if (absent && values.models === undefined) {
      console.log(`models were looked for in ${modelsDir}; where they lie elsewhere: --models <folder>`);
    }
  }
  process.exitCode = verdict.valid ? 0 : 1;
}
