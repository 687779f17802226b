/** What one link counted, as plain numbers: nothing per frame goes through the metrics library. */
export interface LinkStats {
  framesIn: number;
  framesOut: number;
  bytesIn: number;
  bytesOut: number;
  requestsIn: number;
  requestsOut: number;
  /** requests refused here because the queue was full */
  busy: number;
  timeouts: number;
  /** requests of the peer that ended in an error */
  failures: number;
  /** requests of the peer that it cancelled */
  cancels: number;
}

export const createLinkStats = (): LinkStats => ({
  framesIn: 0,
  framesOut: 0,
  bytesIn: 0,
  bytesOut: 0,
  requestsIn: 0,
  requestsOut: 0,
  busy: 0,
  timeouts: 0,
  failures: 0,
  cancels: 0,
});
