// Shows /openapi.json. Everything comes from this server, so the page works without a network.
const { SwaggerUIBundle } = globalThis;

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  // The default asks a server on the internet whether the document is valid.
  validatorUrl: null,
  // A key that was typed in is forgotten with the page.
  persistAuthorization: false,
  withCredentials: true,
  tryItOutEnabled: false,
});
