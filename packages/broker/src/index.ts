export { type Broker, type BrokerConfig, createBroker } from './broker.ts';
export { type BrokerLimits, DEFAULT_LIMITS } from './limits.ts';
export type { Role } from './rights.ts';
export { issuePassword, type User, UsersFileSchema } from './users.ts';
export { createDeviceUsers, type DeviceUsers } from './users-file.ts';
export { createUsersWatch, readUserFiles, type UserFiles } from './users-watch.ts';
