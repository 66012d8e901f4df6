// For ES modules: `import ipc from 'corral/node-ipc'`. Its parts are those of an instance, which have no names of their own.

import ipc from './node-ipc.js';

export default ipc;
