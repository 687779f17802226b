import { Readable } from 'node:stream';
import {
  ArmRequestSchema,
  BrinkError,
  DisarmRequestSchema,
  FireRequestSchema,
  NameSchema,
  RuleArmedSchema,
  RuleFiredSchema,
  RuleStateSchema,
  RuleTestReportSchema,
  RuleTestRequestSchema,
  SnoozeRequestSchema,
} from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { RulesDesk } from '../../rules/desk.ts';
import type { PreparedTest, TestingGround } from '../../rules/testing-ground.ts';
import { type App, problems } from '../app.ts';
import { callerOf } from '../guard.ts';

export interface RulesDeps {
  readonly rulesDesk: RulesDesk;
  readonly testingGround: TestingGround;
  readonly clock: Clock;
  readonly logger: Logger;
}

const TEST_BYTES_MAX = 8 * 1024 * 1024;
/** A backtest ends by itself sooner. */
const TEST_MS_MAX = 700_000;
/** An empty line while a backtest runs: below the limit of idle connections, here and in most proxies. JSON may begin with them. */
const HEARTBEAT_MS = 5000;

export function addRules(app: App, d: RulesDeps): void {
  const tags = ['rules'];
  const params = z.strictObject({ name: NameSchema });
  app.get(
    '/v1/rules/:name/state',
    {
      schema: {
        summary: 'Where each of its state machines stands, what it waits for and until when, and whether it is armed',
        tags,
        params,
        response: { 200: RuleStateSchema, ...problems },
      },
    },
    ({ params: { name } }) => d.rulesDesk.state(name),
  );
  addArming(app, d.rulesDesk, d.clock);
  app.post(
    '/v1/rules/:name/fire',
    {
      schema: {
        summary: 'Carry its actions out now, as a test',
        description:
          'They really go out, also where the rule is disarmed. Its state and its cooldown stay as they are; `because.test` in the explanation says who fired it.',
        tags,
        params,
        body: FireRequestSchema.nullish(),
        response: { 200: RuleFiredSchema, ...problems },
      },
    },
    async (request) => {
      const { name } = request.params;
      const { decision, sample, phase } = request.body ?? { phase: 'then' as const };
      const by = whoOf(request, request.body?.by);
      return { rule: name, actions: await d.rulesDesk.fire(name, { decision, sample, phase, by }) };
    },
  );
  addTests(app, d);
}

function addArming(app: App, desk: RulesDesk, clock: Clock): void {
  const tags = ['rules'];
  const params = z.strictObject({ name: NameSchema });
  const response = { 200: RuleArmedSchema, ...problems };
  app.post(
    '/v1/rules/:name/arm',
    { schema: { summary: 'Let it act again', tags, params, body: ArmRequestSchema.nullish(), response } },
    async ({ params: { name } }) => ({ rule: name, arming: await desk.arm(name) }),
  );
  app.post(
    '/v1/rules/:name/disarm',
    {
      schema: {
        summary: 'Set it aside until it is armed again',
        description:
          'It goes on watching; what it leads to is recorded as suppressed, with the reason. `on_release` of what had gone out before is still sent.',
        ...{ tags, params, body: DisarmRequestSchema.nullish(), response },
      },
    },
    async (request) => {
      const { name } = request.params;
      const order = { by: whoOf(request, request.body?.by), note: request.body?.note };
      return { rule: name, arming: await desk.setAside(name, order) };
    },
  );
  app.post(
    '/v1/rules/:name/snooze',
    {
      schema: {
        summary: 'Set it aside until a time',
        description: 'As disarm, and it is armed again by itself. Either `until` or `for_ms`.',
        ...{ tags, params, body: SnoozeRequestSchema, response },
      },
    },
    async (request) => {
      const { name } = request.params;
      const { until, for_ms, by, note } = request.body;
      const untilMs = until === undefined ? clock.now() + (for_ms ?? 0) : Date.parse(until);
      return { rule: name, arming: await desk.setAside(name, { untilMs, note, by: whoOf(request, by) }) };
    },
  );
}

/** A token says who it is. Where none was needed, the request may. */
function whoOf(request: FastifyRequest, said: string | undefined): string {
  const caller = callerOf(request);
  return caller.kind === 'token' ? caller.name : (said ?? caller.name);
}

function addTests(app: App, d: RulesDeps): void {
  app.post(
    '/v1/rules/test',
    {
      bodyLimit: TEST_BYTES_MAX,
      handlerTimeout: TEST_MS_MAX,
      schema: {
        summary: 'Try rules: on the tests that they carry and, with `since`, on the decisions that are stored',
        description:
          'Changes nothing. With `since` the answer takes as long as it takes: empty lines come before it meanwhile; who goes away ends it.',
        tags: ['rules'],
        body: RuleTestRequestSchema.nullish(),
        response: { 200: RuleTestReportSchema, ...problems },
      },
    },
    async (request, reply) => {
      const prepared = await d.testingGround.prepare(request.body ?? RuleTestRequestSchema.parse({}));
      const ok = prepared.tests.every((test) => test.ok);
      if (prepared.backtest === undefined) return { ok, tests: prepared.tests, backtest: null };
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      // Written as text: an answer of this schema, behind empty lines.
      void reply.type('application/json; charset=utf-8').send(Readable.from(answer(d, prepared, gone.signal)) as never);
      return reply as never;
    },
  );
}

/** Of a run that fails when the answer has begun, `backtest` is null and `error` says why. */
async function* answer(d: RulesDeps, prepared: PreparedTest, signal: AbortSignal): AsyncGenerator<string> {
  const { tests } = prepared;
  const ok = tests.every((test) => test.ok);
  const run = prepared.backtest?.(signal).then(
    (backtest) => ({ ok, tests, backtest }),
    (reason: unknown) => {
      const { code, detail } = BrinkError.from(reason);
      if (code === 'E_INTERNAL') d.logger.error({ err: reason }, 'a backtest failed');
      return { ok, tests, backtest: null, error: { code, detail } };
    },
  );
  // At once, so that whoever asks sees that it has begun.
  yield '\n';
  for (;;) {
    let timer: Timer | undefined;
    const beat = new Promise<undefined>((resolve) => {
      timer = d.clock.setTimeout(() => resolve(undefined), HEARTBEAT_MS);
    });
    const done = await Promise.race([run, beat]);
    if (timer !== undefined) d.clock.clearTimeout(timer);
    yield done === undefined ? '\n' : JSON.stringify(done);
    if (done !== undefined) return;
  }
}
