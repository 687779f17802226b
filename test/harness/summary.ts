import type { Reporter, TestCase, TestModule } from 'vitest/node';

/** Closes a run with one plain line, which any CI can read: `12 passed, 0 failed, 1 skipped`. */
export class SummaryReporter implements Reporter {
  onTestRunEnd(modules: ReadonlyArray<TestModule>, errors: ReadonlyArray<unknown>): void {
    const count = { passed: 0, failed: errors.length, skipped: 0 };
    /** The titles of what is skipped say why. */
    const skipped = new Map<string, number>();
    for (const module of modules) {
      // A hook that fails leaves its tests as skipped; it must not look like success.
      const broken = [module, ...module.children.allSuites()].filter((suite) => suite.errors().length > 0);
      count.failed += broken.length;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state !== 'pending') count[state] += 1;
        if (state === 'skipped') skipped.set(titleOf(test), (skipped.get(titleOf(test)) ?? 0) + 1);
      }
    }
    for (const [title, tests] of skipped) process.stdout.write(`skipped ${tests}: ${title}\n`);
    process.stdout.write(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped\n`);
  }
}

/** Of a test that is skipped: its own where it says why, else that of its suite. */
function titleOf(test: TestCase): string {
  const isOwn = /skipped/.test(test.name) || test.parent.type !== 'suite';
  return isOwn ? test.fullName : test.parent.fullName;
}
