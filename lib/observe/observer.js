'use strict';

// What `cluster.observe` returns: an HTTP server on a thread of its own, which reads what the core counts.

const errors = require('../errors');
const { settingsOf } = require('./options');

/** @typedef {import('./observation').Observation} Observation */

class Observer {
  #observation;
  #address;
  #isOpen = true;

  /**
   * @param {() => Observation} use gives the one that is released in the end
   * @param {unknown} options
   */
  constructor(use, options) {
    const settings = settingsOf(options);
    this.#observation = use();
    try {
      this.#address = this.#observation.native.open(settings);
    } catch (error) {
      this.#observation.release();
      throw explained(/** @type {NodeJS.ErrnoException} */ (error), settings);
    }
  }

  /** @returns {import('node:net').AddressInfo | string} */
  address() {
    const { address, port, isIpv6 } = this.#address;
    return port === undefined ? address : { address, port, family: isIpv6 ? 'IPv6' : 'IPv4' };
  }

  close() {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#observation.native.closeSite(this.#address.site);
    this.#observation.release();
  }
}

/**
 * @param {NodeJS.ErrnoException} error of the addon's
 * @param {import('./binding').ObserveSettings} settings
 */
function explained(error, { host, port, path }) {
  const { code, message } = error;
  if (code === 'allow') {
    return errors.invalidArgValue('options.allow', message, 'must have IP addresses and networks');
  }
  const errno = Number(code);
  if (!(errno > 0)) return errors.create(Error, 'ERR_CORRAL_NAPI', message);
  const at = path ?? (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
  return errors.errnoException(-errno, 'listen', at);
}

module.exports = { Observer };
