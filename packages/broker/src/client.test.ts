import { deferredAckContract } from '@brink/runtime/testing';
import { afterAll, beforeAll } from 'vitest';
import { startBroker, type TestBroker } from './broker.testing.ts';

// The services' own MQTT client on this broker; the same on Mosquitto: test/containers/mosquitto.test.ts.

let fleet: TestBroker;
beforeAll(async () => {
  fleet = await startBroker();
});
afterAll(() => fleet[Symbol.asyncDispose]());

deferredAckContract({ name: 'the embedded broker', url: () => fleet.broker.url, versions: [4] });
