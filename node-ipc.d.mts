// What `import` gives: the default export alone, as node-ipc.mjs has it.

import ipc from './node-ipc.js';

export default ipc;
