"""The images of Dockerfile and deploy/nginx, built and run as an installation runs them."""
