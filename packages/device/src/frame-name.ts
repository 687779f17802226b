/** Names one frame of one stream of this device for ever. */
export interface FrameName {
  readonly boot: string;
  readonly seq: number;
}
