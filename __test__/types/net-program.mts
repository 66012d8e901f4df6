// corral/net in an ES module. Nothing here runs: it compiles, or lint fails.

import type { Server } from 'node:net';
import * as everything from 'corral/net';
import net, { type Channel, type ChannelServer, connect, createServer } from 'corral/net';

export const server: ChannelServer = createServer({ ipc: true }, (channel) => channel.send('hello'));
export const channel: Channel = connect({ ipc: true, path: '\0app' });
export const plain: Server = net.createServer();
export const list = new everything.BlockList();
export const other: everything.Channel = net.connect({ ipc: true, path: '\0app' });
