// Named imports for ES modules, as `node:net` has them: `import { connect } from 'corral/net'`.

import net from './net.js';

export default net;
export const {
  BlockList,
  Channel,
  ChannelServer,
  Server,
  Socket,
  SocketAddress,
  Stream,
  connect,
  createConnection,
  createServer,
  getDefaultAutoSelectFamily,
  getDefaultAutoSelectFamilyAttemptTimeout,
  isIP,
  isIPv4,
  isIPv6,
  setDefaultAutoSelectFamily,
  setDefaultAutoSelectFamilyAttemptTimeout,
} = net;
