'use strict';

// config.tls as node:tls wants it. The files are read anew for each server and each connection, and config.tls stays as
// the program wrote it.

const fs = require('node:fs');

const errors = require('../errors');

/** @typedef {import('../../node-ipc').Config['tls']} Setting */

/**
 * @param {Setting} setting
 * @returns {import('node:tls').SecureContextOptions & import('node:tls').CommonConnectionOptions}
 */
function common(setting) {
  const { private: key, public: cert, trustedConnections, dhparam: _, ...rest } = object(setting);
  /** @type {import('node:tls').SecureContextOptions} */
  const files = {};
  if (key) files.key = fs.readFileSync(key);
  if (cert) files.cert = fs.readFileSync(cert);
  if (trustedConnections) files.ca = [trustedConnections].flat().map((file) => fs.readFileSync(file));
  return { ...rest, ...files };
}

/** @param {Setting} setting */
function object(setting) {
  return typeof setting === 'object' && setting !== null ? setting : {};
}

/**
 * @param {Setting} setting
 * @returns {import('node:tls').TlsOptions}
 */
function serverOptions(setting) {
  const options = common(setting);
  // node-ipc has a key of its own for this case, which everybody has.
  if (!options.key && !options.pfx) throw errors.missingArgs('config.tls.private');
  const { dhparam } = object(setting);
  return dhparam ? { ...options, dhparam: fs.readFileSync(dhparam) } : options;
}

/**
 * @param {Setting} setting
 * @param {object} where
 * @returns {import('node:tls').ConnectionOptions}
 */
function clientOptions(setting, where) {
  return { ...common(setting), ...where };
}

module.exports = { clientOptions, serverOptions };
