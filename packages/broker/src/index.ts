export { type Broker, type BrokerConfig, createBroker } from './broker.ts';
export { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts';
export type { Role } from './rights.ts';
export { issuePassword, type User, UsersFileSchema } from './users.ts';
