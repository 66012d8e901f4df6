// Named imports for ES modules: `import { connect } from 'corral/bus'`.

import bus from './bus.js';

export default bus;
export const { Bus, connect } = bus;
