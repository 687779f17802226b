export { type CameraConfig, createCamera } from './camera.ts';
export type { CommandContext, CommandHandler } from './commands.ts';
export { createDevice, type Device, type DeviceConfig, type PublishFrame } from './device.ts';
export { createFeeder, type Feeder, type FeederConfig } from './feeder.ts';
export type { FrameName } from './frame.ts';
export type { RejectedFrame } from './keeper.ts';
export type { OutboxConfig } from './outbox.ts';
