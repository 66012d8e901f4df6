'use strict';

// `worker.request` and `worker.respond`, of either side. What they need (worker-requests.js) is loaded when they are first called.

/** @typedef {import('./requests').RequestOptions} RequestOptions */
/** @typedef {(message: any) => any} Responder */
/** @typedef {() => typeof import('./worker-requests')} Load */

/**
 * Gives a worker, from either side, what asks and what answers.
 *
 * @param {any} prototype
 * @param {Load} load
 */
function addRequests(prototype, load) {
  /** @param {any} worker */
  const requestsOf = (worker) => load().requestsOf(worker.process, worker);
  Object.defineProperties(prototype, {
    request: {
      /**
       * @this {any}
       * @param {any} message
       * @param {RequestOptions} [options]
       */
      value: function request(message, options) {
        return requestsOf(this).request(message, options);
      },
      configurable: true,
      writable: true,
    },
    respond: {
      /**
       * @this {any}
       * @param {Responder} [responder]
       */
      value: function respond(responder) {
        requestsOf(this).respond(responder);
        return this;
      },
      configurable: true,
      writable: true,
    },
  });
}

module.exports = { addRequests };
