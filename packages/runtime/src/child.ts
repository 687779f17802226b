// What a child process needs to serve its parent, and no more: the rest of this package brings 25 MB of libraries along.
export type { HandlerContext, LinkHandlers, LinkOptions, LinkPeer, ReplyBody, RequestBody } from './link/messages.ts';
export { serveParent } from './link/parent.ts';
