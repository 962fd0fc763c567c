from django.contrib.auth.models import User
from django.http import HttpResponse
from django.templatetags.static import static
from django.urls import path


def index(request):
    return HttpResponse("hello 1 " + static("admin/css/base.css"))


def healthz(request):
    return HttpResponse(f"{User.objects.count()} users, over https: {request.is_secure()}")


urlpatterns = [path("", index), path("healthz", healthz)]
