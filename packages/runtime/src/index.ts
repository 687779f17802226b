export { type Clock, createTestClock, systemClock, type Timer } from './clock.ts';
export { onlyCompileCache } from './compiled.ts';
export { type DataFolder, openDataFolder } from './datafolder.ts';
export { type ChildMetrics, createChildMetrics, type ExitReason } from './exits.ts';
export { collectBuffersEarly } from './heap.ts';
export { createPlainHistogram, type PlainHistogram } from './histogram.ts';
export { formatLinkAddress, type LinkAddress, parseLinkAddress } from './link/address.ts';
export { giveBack } from './link/buffers.ts';
export { createLinkClient, type LinkClient } from './link/client.ts';
export type {
  HandlerContext,
  LinkHandlers,
  LinkOptions,
  LinkPeer,
  LinkReply,
  PeerInfo,
  ReplyBody,
  RequestBody,
  RequestOptions,
} from './link/messages.ts';
export { createLinkMetrics, type LinkMetrics } from './link/metrics.ts';
export { serveParent } from './link/parent.ts';
export { createLink, type LinkDependencies } from './link/peer.ts';
export { createLinkServer, type LinkServer } from './link/server.ts';
export { createLogger, type Logger, silentLogger } from './logger.ts';
export { exitCodeOf, runMain, type Service } from './main.ts';
export { Counter, createRegistry, Gauge, Histogram, Registry, readGauge } from './metrics.ts';
export type { DeferredMessage, Mqtt, MqttMessage, MqttOptions } from './mqtt.ts';
export { createMqtt } from './mqtt-connection.ts';
export { createMqttMetrics, type MqttMetrics } from './mqtt-metrics.ts';
export type { PublishOptions } from './mqtt-outbox.ts';
export { watchBrokerVersion } from './mqtt-version.ts';
export { createOps, listenError } from './ops.ts';
export { type Part, startAll, stopAll } from './part.ts';
export type { RestartPolicy } from './restarts.ts';
export { cancelled, fullJitter, wait } from './retry.ts';
export {
  isLoopback,
  logSettings,
  mqttSettings,
  opsSettings,
  portSetting,
  readSettings,
  secretFrom,
} from './settings.ts';
export {
  type Child,
  type ChildDependencies,
  type ChildExit,
  type ChildOptions,
  createChild,
} from './supervise.ts';
export { issueToken, tokenId } from './token.ts';
