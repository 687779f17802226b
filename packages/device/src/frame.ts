import type { PublishOptions } from '@brink/runtime';

/** Names one frame of one stream of this device for ever. */
export interface FrameName {
  readonly boot: string;
  readonly seq: number;
}

/** What an MQTT 5 broker takes along with a frame. */
export function propertiesOf(o: {
  contentType?: string | undefined;
  at?: number | undefined;
}): NonNullable<PublishOptions['properties']> {
  return {
    ...(o.contentType === undefined ? {} : { contentType: o.contentType }),
    ...(o.at === undefined ? {} : { userProperties: { at: String(o.at) } }),
  };
}
