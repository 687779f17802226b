/** What is to be sent as one frame. */
export interface Outgoing {
  readonly bytes: Uint8Array;
  /** Where it is from, for people: `yes.wav 3`. */
  readonly from: string;
  /** Position of its first sample, in samples of one channel since the first frame. */
  readonly at?: number;
  /** How long it lasts, where its source says so: the next one is due so much later. */
  readonly ms?: number;
  readonly contentType?: string;
}
