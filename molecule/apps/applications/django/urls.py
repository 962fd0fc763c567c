from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path


def index(request):
    return HttpResponse("hello 1")


def users(request):
    return HttpResponse(f"{User.objects.count()} users")


urlpatterns = [path("", index), path("users", users)]
