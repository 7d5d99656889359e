// The document of this gateway; nothing is asked of any other host (no validator badge, no remote example).
window.addEventListener("DOMContentLoaded", () => {
  window.SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    docExpansion: "none",
    filter: true,
    validatorUrl: null,
    withCredentials: true,
    // What a page's script must repeat beside a session's cookie; keys need none.
    requestInterceptor: (request) => {
      const found = document.cookie.match(/(?:^|; )(?:__Host-)?mrproxy_csrf=([^;]*)/);
      if (found && request.method && request.method !== "GET") request.headers["X-CSRF-Token"] = found[1];
      return request;
    },
  });
});
