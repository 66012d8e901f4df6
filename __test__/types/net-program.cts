// corral/net without interop. Nothing here runs: it compiles, or lint fails.

import net = require('corral/net');

export function start(allow: (peer: net.Peer) => boolean): net.ChannelServer {
  return net.createServer({ ipc: true, allow });
}

export const socket: net.Socket = net.connect(8000);
